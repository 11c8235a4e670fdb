"""The images that containers are made of: those of docker-compose.yml."""

KAFKA = "apache/kafka:4.3.1"
POSTGRES = "postgres:18.6"
