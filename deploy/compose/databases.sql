-- The outcomes have the database that the server makes by itself; MLflow gets one of its own.
CREATE DATABASE mlflow;
