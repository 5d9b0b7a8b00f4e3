"""What datasets and tokenizations are: plain values and rules, without files, tables or messages."""
