"""The models service: inspects models on the Hub, brings them in, lets them go."""
