"""The job engine: at-least-once delivery, exactly-once effects, on Postgres and NATS JetStream."""
