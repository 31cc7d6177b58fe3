"""Which names hold secrets, and which values are secrets rather than words."""

from __future__ import annotations

import pytest

from worldflux.manifest.secret_names import (
    FIRM,
    INHERITED,
    STRONG,
    WEAK,
    is_literal,
    is_reference,
    is_secret_name,
    is_wordy,
)

SECRET = """
 HF_TOKEN WANDB_API_KEY AWS_SECRET_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SESSION_TOKEN WORLDFLUX_API_KEY TOKEN
SECRET GITHUB_TOKEN OPENAI_KEY MODAL_TOKEN_SECRET DB_PASSWORD DB_PASS MYSQL_PWD PGPASSWORD SMTP_PASS
KAGGLE_KEY API_KEY_2 HF_TOKEN_PROD SECRET_B64 GITHUB_PAT GOOGLE_CREDENTIALS TOKEN_GITHUB JWT_SECRET
Authorization Proxy-Authorization password db.password smtp-password passwd passphrase apiKey api_key
x-api-key X-Api-Key hubToken authToken access_token clientSecret client_secret private_key secret token auth
cookie set-cookie refresh_token bearer_token webhook_secret keyStorePassword MasterUserPassword credentials
hub/api_key
"""
HARMLESS = """
 PATH HOME PWD OLDPWD SSH_AUTH_SOCK GIT_ASKPASS TOKENIZERS_PARALLELISM HF_TOKEN_PATH HF_TOKEN_FILE
AUTH_METHOD MAX_TOKENS CACHE_KEY GPG_KEY SSH_PUBLIC_KEY KEYBOARD_LAYOUT OAUTH_TOKEN_URL SECRET_NAME
PASSWORD_STORE_DIR GOOGLE_APPLICATION_CREDENTIALS PASSWORDLESS WORLDFLUX_RUN_ID key keys name tokens
token_count max_tokens num_tokens tokenizer tokenizer_class tokens_per_second eos_token pad_token
image_token mask_token next_token page_token client_token idempotency_key primary_key foreign_key sort_key
cache_key rng_key public_key key_dim num_key_value_heads keypoints keyboard monkey author authors
authenticated secretary compass pass passes passed bypass forward_pass low_pass pass_rate token_id
token_sha256 password_hash secret_name token_type auth_method auth_url with-token no-token key_frames
train/token loss/token $secret
"""
STAND_INS = """
 ${HF_TOKEN} ${oc.env:HF_TOKEN} $HF_TOKEN HF_TOKEN {{token}} <token> [REDACTED] *** ******** xxxxxxxx none
changeme env:HF_TOKEN ~/.ssh/id_rsa /run/secrets/hf ./token.txt https://example.org/auth sha256:00ff
%(TOKEN)s your-api-key arn:aws:iam::123456789012:role/x 2026-11-21T10:00:00Z abc...
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_names_of_secrets(name: str) -> None:
    """These names hold secrets: variables, config keys, headers and options as people write them."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", [*HARMLESS.split(), "", "a" * 500, "näme", "🔑", "1", "_"])
def test_names_of_other_things(name: str) -> None:
    """These names do not: files, counts, vocabularies, metrics, public keys and switches."""
    assert not is_secret_name(name)


@pytest.mark.parametrize("value", STAND_INS.split())
def test_references_are_no_literals(value: str) -> None:
    """What points to a secret, or stands in its place, is no secret even as a password."""
    assert is_reference(value)
    assert not is_literal(value, STRONG)


def test_the_surer_the_name_the_less_the_value_must_look_drawn() -> None:
    """A word is a password but no API key; a short random text is an API key but no bare token."""
    assert is_literal("letmein", STRONG) and not is_literal("letmein", FIRM)
    assert is_literal("q8z-77x2", FIRM) and not is_literal("q8z-77x2", WEAK)
    assert is_literal("q8z77x2k1m", WEAK) and not is_literal("q8z77x2k1m", INHERITED)
    assert is_literal("q8z77x2k1mq8z77x2k1m", INHERITED)
    assert not any(is_literal(value, STRONG) for value in ("", "   ", "abc", "must be set", "prompt"))


@pytest.mark.parametrize(
    "value",
    ["hf-secret-2", "bert-base-uncased", "LlamaTokenizerFast", "gpt2-medium-v2", "12345678", "SSHPrivateKey"],
)
def test_words(value: str) -> None:
    """Names that people give to models, secrets and classes are words."""
    assert is_wordy(value)


@pytest.mark.parametrize("value", ["9f86d081884c7d65", "aB3dE5fG7h", "0f8fad5b-d9cb-469f", "q8z77x2k"])
def test_drawn_values(value: str) -> None:
    """Random letters and digits are not."""
    assert not is_wordy(value)
