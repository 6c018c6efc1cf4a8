"""Real servers on this machine in the place of the cloud's: PostgreSQL, Valkey and, where Java is present, Kafka."""
