"""A Flask app in which every customer has a budget of a cent.

Metering begins with the module and lasts as long as the process, at whose exit events are handed over.
`uninstrument()` has no place in `teardown_appcontext`, which runs after each request: metering would end with
the first.

Run: python examples/flask_app.py   (needs: pip install 'aden-transport[openai]' flask)
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from openai import OpenAI

from aden_transport import (
    MeterOptions,
    RequestCancelledError,
    context,
    create_console_emitter,
    instrument,
)
from aden_transport.testing import FakeProvider, Reply

POLICY = {"budgets": [{"type": "customer", "name": "*", "limit": 0.01, "limitAction": "block"}]}

app = Flask(__name__)
instrument(MeterOptions(emit_metric=create_console_emitter(), policy=POLICY, ledger="memory"))


@app.post("/ask")
def ask() -> dict[str, Any]:
    client: OpenAI = app.extensions["openai"]
    with context(customer=request.headers["x-customer"]):
        answer = client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": request.get_data(as_text=True)}],
            max_tokens=500,
        )
    return {"answer": answer.choices[0].message.content}


@app.errorhandler(RequestCancelledError)
def refused(error: RequestCancelledError) -> tuple[dict[str, Any], int]:
    return {"error": error.reason, "budget": error.budget_id}, error.status_code


def main() -> None:
    with (
        FakeProvider(reply=Reply(text="Gladly.", output_tokens=400)) as provider,
        OpenAI(base_url=provider.openai_base_url, api_key="any") as client,
        app.test_client() as browser,
    ):
        app.extensions["openai"] = client
        for customer in ("acme", "acme", "acme", "globex"):
            answer = browser.post("/ask", data="Say hello.", headers={"x-customer": customer})
            print(f"{customer}: {answer.status_code} {answer.get_json()}")


if __name__ == "__main__":
    main()
