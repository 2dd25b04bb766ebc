"""A client of Spark Connect, and its server, in a process of their own: PySpark is of one kind or of the other."""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from fds_mlflow import ManagedModel
from fds_mlflow.errors import DataError
from fds_mlflow.runtime.spark import told
from fds_mlflow.workflows.batch.batch import score
from fds_mlflow.workflows.batch.spark import address_of, record_answers, routed, scored
from fds_mlflow.workflows.batch.versions import Choice
from tests.support.spark import OPTIONS


def main(outcomes: str) -> None:
    """Score the working folder's files into others, and say how many outcomes were new."""
    spark = SparkSession.builder.remote("local[2]").config(map=OPTIONS).getOrCreate()
    try:
        model = ManagedModel("fraud", outcomes=outcomes)
        score(model, "raw.parquet", "connect.out", choice=Choice(), engine="spark")
        frame = spark.read.parquet(address_of("computed.parquet"))
        scored(model, frame).write.parquet(address_of("frame.out"))
        routed(model, frame).toArrow().to_pandas().to_parquet("routed.parquet")
        answers = spark.read.parquet(address_of("frame.out"))
        print(*(record_answers(answers, outcomes)[0] for _ in range(2)))
        try:
            with told():
                scored(model, frame.withColumn("transaction_id", frame["country"])).collect()
        except DataError as error:
            print(error.what)
    finally:
        spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
