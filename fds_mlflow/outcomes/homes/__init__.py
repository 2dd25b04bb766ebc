"""Homes of outcomes beside the database: a Kafka topic, and a folder of Parquet files."""
