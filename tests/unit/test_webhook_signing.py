"""A library that we did not write accepts what we sign, and refuses what was changed or kept too long."""

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from infra.webhooks.body import MAX_BYTES, body_of
from infra.webhooks.signing import new_secret, signed

ID = "evt_0199aabbccddeeff0011223344556677"
BODY = '{"type":"job.succeeded","data":{"kind":"색인"}}'.encode()


def headers(secret: str, *more: str, at: float | None = None, body: bytes = BODY) -> dict[str, str]:
    return signed(ID, body, [secret, *more], at=time.time() if at is None else at)


def test_a_receiver_verifies_what_was_signed() -> None:
    secret = new_secret()
    assert Webhook(secret).verify(BODY, headers(secret)) == json.loads(BODY)
    assert headers(secret)["webhook-id"] == ID


def test_it_is_the_signature_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = '{"test": 2432232314}'
    made = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", body.encode(), [secret], at=1614265330)
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_replaced_both_verify() -> None:
    new, old, other = new_secret(), new_secret(), new_secret()
    given = headers(new, old)
    for secret in (new, old):
        Webhook(secret).verify(BODY, given)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, given)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-signature"])
def test_what_was_touched_is_refused(change: str) -> None:
    secret = new_secret()
    given, body = headers(secret), BODY
    if change == "body":
        body = BODY.replace(b"succeeded", b"cancelled")
    elif change == "webhook-id":
        given["webhook-id"] = ID[:-1] + "8"
    else:
        given["webhook-signature"] = headers(new_secret())["webhook-signature"]
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, given)


@pytest.mark.parametrize("off_s", [-600, 600])
def test_what_was_kept_for_long_is_refused(off_s: float) -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers(secret, at=time.time() + off_s))


def test_the_time_is_part_of_what_is_signed() -> None:
    secret = new_secret()
    old = headers(secret, at=time.time() - 600)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, old | {"webhook-timestamp": str(int(time.time()))})


def test_secrets_are_long_and_differ() -> None:
    made = [new_secret() for _ in range(100)]
    assert len(set(made)) == 100
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in made} == {32}


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", base64.b64encode(b"k" * 32).decode(), "whsec_" + base64.b64encode(b"k" * 23).decode(),
     "whsec_" + base64.b64encode(b"k" * 65).decode(), "whsec_not base64!"],
)  # fmt: skip
def test_what_is_no_secret_signs_nothing(secret: str) -> None:
    with pytest.raises(ValueError, match="signing secret"):
        headers(secret)


JOB = "job_" + "0" * 32
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_body_tells_what_happened_when_and_where_the_rest_is() -> None:
    data = json.dumps({"id": JOB, "kind": "noop", "state": "failed", "error": {"code": "timeout"}})
    assert json.loads(body_of("job.failed", AT, data, public_url="https://welip.example/")) == {
        "type": "job.failed",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "data": {
            "id": JOB,
            "kind": "noop",
            "state": "failed",
            "error": {"code": "timeout"},
            "links": {
                "self": f"https://welip.example/v1/jobs/{JOB}",
                "result": f"https://welip.example/v1/jobs/{JOB}/result",
            },
        },
    }


def test_without_a_public_address_links_are_paths_and_what_is_null_is_left_out() -> None:
    data = json.dumps({"id": JOB, "kind": "noop", "state": "succeeded", "error": None})
    made = json.loads(body_of("job.succeeded", AT, data, public_url=None))["data"]
    assert "error" not in made
    assert made["links"] == {"self": f"/v1/jobs/{JOB}", "result": f"/v1/jobs/{JOB}/result"}


def test_what_tells_of_no_job_has_no_links() -> None:
    assert json.loads(body_of("webhook.test", AT, '{"id": "wh_1"}', public_url=None))["data"] == {"id": "wh_1"}


def test_a_body_stays_small_whatever_the_settings_allow() -> None:
    data = json.dumps({"id": JOB, "kind": "k" * 100, "state": "cancelled", "error": {"code": "c" * 1000}})
    assert len(body_of("job.cancelled", AT, data, public_url="https://" + "h" * 990)) < MAX_BYTES / 2
