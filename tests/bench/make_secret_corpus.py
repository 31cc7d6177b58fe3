# ruff: noqa: E501
"""Writes tests/fixtures/secrets/{positive,negative}.jsonl anew: `python tests/bench/make_secret_corpus.py`.

All values are drawn from a seeded generator; none was ever issued by anybody. A family is one idea (kind
of secret and the place where it hides); every third family, in an order drawn once, is held out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import random
import string
from pathlib import Path
from typing import Any

import make_secret_corpus_negative as harmless

SEED = 20261121
ALNUM = string.ascii_letters + string.digits
URL64 = ALNUM + "-_"
HEX = "0123456789abcdef"
FOLDER = Path(__file__).parents[1] / "fixtures" / "secrets"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


class Draw:
    """Random text with the looks of issued credentials."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def of(self, alphabet: str, count: int) -> str:
        """Random text; long enough draws hold a digit and a capital where the alphabet has them."""
        while True:
            text = "".join(self.random.choices(alphabet, k=count))
            if count < 12 or all(
                not set(kind) <= set(alphabet) or set(kind) & set(text)
                for kind in (string.digits, string.ascii_uppercase)
            ):
                return text

    def wfx(self) -> str:
        body = "wfx_" + self.of(BASE62, 33)
        number, tail = binascii.crc32(body.encode()), ""
        while number:
            number, digit = divmod(number, 62)
            tail = BASE62[digit] + tail
        return body + tail.rjust(6, "0")

    def jwt(self) -> str:
        def piece(value: dict[str, Any]) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        head = {"alg": self.random.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
        return ".".join([piece(head), piece({"sub": self.of(HEX, 8), "exp": 1795000000}), self.of(URL64, 43)])

    def pem(self, kind: str) -> str:
        lines = [self.of(ALNUM + "+/", 64) for _ in range(6)]
        return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])

    def vendors(self) -> dict[str, str]:
        of = self.of
        return {
            "aws": "AKIA" + of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
            "aws-session": "ASIA" + of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
            "github": "ghp_" + of(ALNUM, 36),
            "github-app": "ghs_" + of(ALNUM, 36),
            "github-fine": "github_pat_" + of(ALNUM, 22) + "_" + of(ALNUM, 59),
            "gitlab": "glpat-" + of(URL64, 20),
            "huggingface": "hf_" + of(string.ascii_letters, 34),
            "openai": "sk-" + of(ALNUM, 20) + "T3BlbkFJ" + of(ALNUM, 20),
            "openai-project": "sk-proj-" + of(URL64, 74) + "T3BlbkFJ" + of(URL64, 74),
            "anthropic": "sk-ant-api03-" + of(URL64, 93) + "AA",
            "openrouter": "sk-or-v1-" + of(HEX, 64),
            "slack-bot": f"xoxb-{of(string.digits, 12)}-{of(string.digits, 13)}-{of(ALNUM, 24)}",
            "slack-hook": "https://hooks.slack.com/services/T" + of(ALNUM, 10) + "/B" + of(ALNUM, 10) + "/" + of(ALNUM, 24),
            "google": "AIza" + of(URL64, 35),
            "google-oauth": "GOCSPX-" + of(URL64, 28),
            "stripe": "sk_live_" + of(ALNUM, 24),
            "stripe-restricted": "rk_test_" + of(ALNUM, 99),
            "npm": "npm_" + of(ALNUM, 36),
            "pypi": "pypi-AgEI" + of(URL64, 120),
            "replicate": "r8_" + of(ALNUM, 37),
            "modal-secret": "as-" + of(ALNUM, 22),
            "modal-id": "ak-" + of(ALNUM, 22),
            "wandb-long": "wandb_v1_" + of(ALNUM + "_", 77),
            "digitalocean": "dop_v1_" + of(HEX, 64),
            "sendgrid": "SG." + of(URL64, 22) + "." + of(URL64, 43),
            "twilio": "SK" + of(HEX, 32),
            "databricks": "dapi" + of(HEX, 32),
            "worldflux": self.wfx(),
            "jwt": self.jwt(),
            "pem-rsa": self.pem("RSA "),
            "pem-plain": self.pem(""),
            "pem-ssh": self.pem("OPENSSH "),
            "azure-storage": f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={of(ALNUM + '+/', 86)}==;EndpointSuffix=core.windows.net",
            "azure-sas": f"https://acme.blob.core.windows.net/runs/a.bin?sv=2024-11-04&sp=r&sig={of(ALNUM, 40)}%2B{of(ALNUM, 2)}%3D",
            "azure-client": of(ALNUM, 3) + "8Q~" + of(ALNUM + "_.-", 34),
            "nvidia": "nvapi-" + of(URL64, 64),
            "groq": "gsk_" + of(ALNUM, 52),
            "vault": "hvs." + of(URL64, 95),
            "docker": "dckr_pat_" + of(URL64, 27),
        }  # fmt: skip


#: Where a vendor's token is put: (name, form, document).
PLACES = [
    ("leaf", "json", '{"config":{"resolved":{"hub":{"extra":"@0@"}}}}'),
    ("list", "json", '{"run":{"tags":["nightly","@0@","a"]}}'),
    ("key", "json", '{"runtime":{"metadata":{"@0@":1}}}'),
    ("message", "json", '{"run":{"error":{"message":"could not open @0@: refused"}}}'),
    ("log line", "text", "2026-11-21 10:00:01 INFO login ok (@0@)\n2026-11-21 10:00:02 INFO next\n"),
    ("path", "json", '{"artifacts":[{"bytes":12,"path":"out/@0@/model.bin"}]}'),
    ("query", "json", '{"inputs":[{"uri":"https://example.org/d?v=@0@&x=1"}]}'),
]

#: Where the value of a visible variable is put.
SPOTS = [
    ("leaf", "json", '{"runtime":{"metadata":{"note":"@0@"}}}'),
    ("middle", "json", '{"run":{"error":{"message":"login as bob with @0@ failed"}}}'),
    ("key", "json", '{"metrics":{"@0@":{"value":1}}}'),
    ("list", "json", '{"run":{"tags":["a","@0@"]}}'),
    ("deep", "json", '{"a":[{"b":{"c":[[{"d":["x@0@x"]}]]}}]}'),
    ("artifact name", "json", '{"artifacts":[{"path":"ckpt-@0@.pt"}]}'),
    ("branch", "json", '{"git":{"branch":"fix/@0@"}}'),
    ("remote", "json", '{"git":{"remote":"https://@0@@git.example.org/a/b.git"}}'),
    ("argv", "json", '{"run":{"argv":["train.py","--lr","1e-3","@0@"]}}'),
    ("yaml", "text", "hub:\n  user: bob\n  value: @0@\n"),
    ("traceback", "text", 'Traceback (most recent call last):\n  File "a.py", line 3\nValueError: bad @0@\n'),
]
WAYS = ["raw", "base640", "base641", "base642", "urlsafe0", "urlsafe1", "hex", "HEX", "url", "repr"]


def cut(value: str, draw: Draw) -> list[str]:
    """The value in pieces too short to look like anything."""
    pieces, rest = [], value
    while rest:
        size = draw.random.randint(3, 9) if pieces else min(4, max(2, len(value) // 4))
        pieces.append(rest[:size])
        rest = rest[size:]
    return pieces


def taint_lines(draw: Draw) -> list[dict[str, Any]]:
    """Values that nothing but knowing them can find: they look like words, digests or numbers."""
    shapes = {
        "hex40": lambda: draw.of(HEX, 40),
        "letters": lambda: draw.of(string.ascii_lowercase, 12),
        "digits": lambda: draw.random.choice("123456789") + draw.of(string.digits, 13),
        "symbols": lambda: draw.of(ALNUM + "/+=&%?!$", 18) + '"\\',
        "unicode": lambda: draw.of("äöüßéñ" + ALNUM, 14) + "é",
        "spaces": lambda: draw.of(string.ascii_lowercase, 6) + " " + draw.of(string.ascii_lowercase, 7),
        "token": lambda: draw.of(ALNUM, 32),
    }
    names = [
        "WANDB_API_KEY",
        "DB_PASSWORD",
        "HF_TOKEN",
        "MY_SECRET",
        "MODAL_TOKEN_SECRET",
        "SMTP_PASS",
        "STRIPE_KEY",
    ]
    lines = []
    for index, (spot, form, body) in enumerate(SPOTS):
        for turn, (shape, make) in enumerate(shapes.items()):
            way = WAYS[(index * len(shapes) + turn) % len(WAYS)]
            if spot == "remote":
                way = "url"
            if form == "text" and shape in ("spaces",):
                way = "raw"
            env = {names[(index + turn) % len(names)]: 0}
            lines.append(
                {
                    "family": f"taint {spot} {way}",
                    "form": form,
                    "body": body,
                    "as": way,
                    "env": env,
                    "value": make(),
                }
            )
    for name in ("API_KEY", "PASSWORD"):
        lines.append({"family": "taint number", "form": "json", "body": '{"metrics":{"n":{"value":@0@}}}', "env": {name: 0},
                      "value": draw.random.choice("123456789") + draw.of(string.digits, 10)})  # fmt: skip
    return lines


def vendor_lines(draw: Draw) -> list[dict[str, Any]]:
    lines = []
    for turn in range(2):
        for index, (vendor, value) in enumerate(draw.vendors().items()):
            place, form, body = PLACES[(index + turn * 3) % len(PLACES)]
            if "\n" in value or "://" in value or ";" in value:
                place, form, body = PLACES[(0, 3)[turn]]
            lines.append({"family": f"vendor {vendor} {place}", "form": form, "body": body, "value": value})
    secret = draw.of(ALNUM + "/+", 40)
    for body in (
        '{"runtime":{"metadata":{"pair":"@1@ @0@"}}}',
        '{"runtime":{"metadata":{"first":"@1@","second":"@0@"}}}',
        '{"run":{"tags":["@1@","@0@"]}}',
    ):
        line = {"family": "vendor aws pair", "form": "json", "body": body, "value": secret}
        lines.append(line | {"more": ["AKIA" + draw.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)]})
    return lines


def named_lines(draw: Draw) -> list[dict[str, Any]]:
    """A literal value under a name that says what it is."""
    lines = []
    names = [
        "password", "db_password", "api_key", "apiKey", "token", "access_token", "hubToken", "client_secret", "secret",
        "private_key", "aws_secret_access_key", "X-Api-Key", "authToken", "HF_TOKEN", "WANDB_API_KEY", "passphrase",
        "refresh_token", "secret-key", "smtp.password", "credentials", "webhook_secret", "OPENAI_KEY", "passwd", "cookie",
        "Authorization",
    ]  # fmt: skip
    shapes = [
        lambda: draw.of(ALNUM, 24),
        lambda: draw.of(HEX, 40),
        lambda: draw.of(HEX, 8) + "-" + "-".join(draw.of(HEX, 4) for _ in range(3)) + "-" + draw.of(HEX, 12),
        lambda: draw.of(ALNUM + "/+", 43) + "=",
    ]
    words = ["hunter22!", "Tr0ub4dor&3", "letmein99", "Sommer2026!"]
    for index, name in enumerate(names):
        for turn in range(2):
            value = shapes[(index + turn) % len(shapes)]()
            if turn and ("pass" in name):
                value = words[index % len(words)] + draw.of(string.digits, 2)
            body = [
                f'{{"config":{{"hub":{{"{name}":"@0@"}}}}}}',
                f'{{"runtime":{{"metadata":[{{"a":1,"{name}":"@0@"}}]}}}}',
            ][turn]
            lines.append({"family": f"named {name}", "form": "json", "body": body, "value": value})
    for body in (
        '{"config":{"password":@0@}}',
        '{"config":{"api_key":@0@}}',
        '{"config":{"db":{"passwd":@0@}}}',
    ):
        lines.append({"family": "named number", "form": "json", "body": body,
                      "value": draw.random.choice("123456789") + draw.of(string.digits, 9)})  # fmt: skip
    for body in (
        '{"config":{"api_keys":["@0@"]}}',
        '{"config":{"credentials":{"main":"@0@"}}}',
        '{"config":{"secrets":{"wandb":"@0@"}}}',
        '{"env":[{"name":"HF_TOKEN","value":"@0@"}]}',
        '{"env":[{"value":"@0@","name":"DB_PASSWORD"}]}',
        '{"a":{"token":"x","token":"@0@","token":"y"}}',
    ):
        lines.append(
            {
                "family": "named nested " + body[2:12],
                "form": "json",
                "body": body,
                "value": draw.of(ALNUM, 28),
            }
        )
    return lines


def text_lines(draw: Draw) -> list[dict[str, Any]]:
    """URLs, headers, flags and assignments inside strings."""
    bodies = {
        "url": [
            "https://bob:@0@@example.org/a/b.git", "postgresql://app:@0@@db:5432/runs", "redis://:@0@@10.0.0.4:6379/0",
            "https://@0@@example.org/acme/repo.git", "https://oauth2:@0@@example.org/x.git",
            "pip install --index-url https://ci:@0@@mirror.example.org/simple torch", "http://u:@0@@proxy.local:3128",
            "fatal: unable to access 'https://x-access-token:@0@@example.org/a.git/': 403",
        ],
        "header": [
            "Authorization: Bearer @0@", "curl -H 'Authorization: Bearer @0@' https://example.org", "authorization: token @0@",
            "{'Authorization': 'Bearer @0@'}", "request failed: headers={'X-Api-Key': '@0@'}", "Proxy-Authorization: Bearer @0@",
        ],
        "basic": ["Authorization: Basic @0@", "'authorization': 'Basic @0@'"],
        "flag": [
            "train.py --api-key @0@ --lr 1e-3", "train.py --api-key=@0@", "wandb login --token @0@", "mysql --password=@0@ -h db",
            "run --hf-token '@0@' --seed 3", "docker login -u bob --password @0@", "tool --client-secret \"@0@\"",
        ],
        "assignment": [
            "hub.token=@0@", "++hub.api_key=@0@", "HF_TOKEN=@0@ python train.py", "export WANDB_API_KEY=@0@", "db.password='@0@'",
            "https://example.org/d?token=@0@&v=1", "https://example.org/d?v=1&access_token=@0@", "dict(api_key='@0@')",
            "{'password': '@0@'}", "api_key: @0@", "client_secret = @0@", "Server=db;User Id=sa;Password=@0@;",
        ],
    }  # fmt: skip
    lines = []
    for kind, templates in bodies.items():
        for index, template in enumerate(templates):
            for turn in range(2):
                value = draw.of(ALNUM, 22 + 4 * turn)
                if kind == "basic":
                    value = base64.b64encode(f"bob:{value}".encode()).decode()
                text = json.dumps(template.replace("@0@", "\0"))[1:-1].replace("\\u0000", "@0@")
                body = (
                    f'{{"run":{{"overrides":["seed=3","{text}"]}}}}',
                    f'{{"run":{{"error":{{"message":"{text}"}}}}}}',
                )[turn]
                lines.append({"family": f"{kind} {index}", "form": "json", "body": body, "value": value})
    for flag in ("--api-key", "--token", "--hf_token", "--password"):
        body = f'{{"run":{{"argv":["python","train.py","{flag}","@0@","--lr","0.1"]}}}}'
        lines.append(
            {"family": f"argv list {flag}", "form": "json", "body": body, "value": draw.of(ALNUM, 26)}
        )
    return lines


def finish(lines: list[dict[str, Any]], draw: Draw, kind: str) -> list[dict[str, Any]]:
    """Number the lines, cut the values, hold out every third family."""
    families = sorted({line["family"] for line in lines})
    draw.random.shuffle(families)
    held = set(families[::3])
    done = []
    for number, line in enumerate(lines):
        values = [line.pop("value", None), *line.pop("more", [])]
        split = "held" if line["family"] in held else "tune"
        head = {"id": f"{kind[0]}{number:03}", "split": split, "secret": kind == "positive"}
        parts = {"parts": [cut(value, draw) for value in values]} if values[0] is not None else {}
        done.append(head | line | parts)
    return done


def write(kind: str, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (FOLDER / f"{kind}.jsonl").write_text(text, "utf-8")
    held = sum(line["split"] == "held" for line in lines)
    print(
        f"{kind}: {len(lines)} lines, {held} held out, sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    )


def main() -> None:
    draw = Draw(SEED)
    positive = [*taint_lines(draw), *vendor_lines(draw), *named_lines(draw), *text_lines(draw)]
    write("positive", finish(positive, draw, "positive"))
    write("negative", finish(harmless.lines(draw), draw, "negative"))


if __name__ == "__main__":
    main()
