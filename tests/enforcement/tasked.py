"""The same calls as tasks of Celery, over a folder as its broker."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

LATER = os.environ.get("METER") == "in each worker"
limit = os.environ.pop("LIMIT") if LATER else ""

import served  # noqa: E402

if LATER:
    os.environ["LIMIT"] = limit
    worker_process_init.connect(lambda **_: served.meter(), weak=False)

app: Any = Celery("tasked", broker="filesystem://")
folder = os.environ["BROKER"]
app.conf.update(
    broker_transport_options={
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": f"{folder}-control",
        "polling_interval": 0.01,
    },
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
)


@app.task  # type: ignore[untyped-decorator]
def call(number: str) -> None:
    served.call(number)
