"""What a name says about its value, and whether a value looks like more than a word.

Names are read by their last word (`db.password`, `HF_TOKEN`, `authToken`), because that is the noun: a
`tokenizer`, a `token_count` or a `secret_name` holds no secret. Models are full of tokens that are words of
a vocabulary, so a bare `token` needs a value that looks drawn at random.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

#: How sure a name is. INHERITED: a leaf somewhere below a secret-named key. WEAK: `token`, `auth`.
#: FIRM: `api_key`, `client_secret`. STRONG: `password`, whose value may well be a word.
NONE, INHERITED, WEAK, FIRM, STRONG = range(5)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SERVICES = _words(
    "anthropic aws azure cohere comet databricks db docker gcp gemini ghcr git github gitlab google groq hf "
    "hub huggingface langsmith mapbox mistral modal mongo mysql neptune ngc npm nvidia openai openrouter pg "
    "pinecone postgres pypi redis registry replicate runpod s3 sendgrid sentry slack smtp stripe supabase "
    "tailscale telegram together twilio twine vault wandb worldflux xai"
)
#: `<word>_key` is a credential after these.
_KEY_WORDS = _SERVICES | _words(
    "access account admin aes api app auth client decryption deploy encryption hmac jwt license master "
    "private root secret service shared signing storage subscription symmetric webhook"
)
#: `SOME_KEY`, in capitals, is one too, but not after these.
_KEY_HARMLESS = _words(
    "cache dedupe env foreign gpg group hash host idempotency index job lookup object ordering partition "
    "pgp primary prng public registry rng routing row run s3 sort trace unique"
)
_TOKEN_WORDS = _SERVICES | _words(
    "access admin api auth bearer bot deploy id jwt login oauth personal refresh security service session "
    "upload user x"
)
#: `<word>_token` is an entry of a vocabulary, a cursor or an idempotency key after these.
_TOKEN_HARMLESS = _words(
    "action audio begin bos byte cancel cancellation change class client cls completion context "
    "continuation decoder draft encoder end eos extra fencing frame goal idempotency image img input key "
    "lang language latent mask max min memory new next num object obs observation output pad page patch per "
    "prefix prompt query readout register request sep separator slot source special start state stop sub "
    "suffix sync target task text think time unk video vision visual word"
)
#: `<word>_pass` is no password after these.
_PASS_HARMLESS = _words("backward band by first forward high low multi render second single two")
_PASSWORDS = _words("password passwd passphrase passcode pwd")
_GLUED = (
    "apikey", "secretkey", "accesskey", "privatekey", "authkey", "signingkey", "clientsecret", "appsecret",
    "authtoken", "accesstoken", "apitoken", "hftoken", "usertoken", "githubtoken", "bearertoken",
)  # fmt: skip
_SINGULAR = {"passwords": "password", "tokens": "token", "secrets": "secret", "credentials": "credential",
             "keys": "key", "cookies": "cookie", "passphrases": "passphrase"}  # fmt: skip
#: Said after the noun without changing it: `HF_TOKEN_PROD`, `API_KEY_2`, `SECRET_B64`.
_VARIANTS = _words(
    "admin b backup base bot ci decoded default dev live main new old plain primary prod production raw "
    "read ro rw sandbox secondary stage staging test v value write"
)
_HARMLESS = _words(
    "PWD OLDPWD pwd $secret SSH_AUTH_SOCK GIT_ASKPASS SSH_ASKPASS GOOGLE_APPLICATION_CREDENTIALS"
)
#: Switches and limits, whatever their noun is.
_ADVERBS = _words(
    "allow check delete disable enable get has is max min no num require required requires reset set skip "
    "supports total validate verify with without"
)

#: Keys that describe a secret without being one, below `secrets:` or `credentials:`.
INERT = _words(
    "algorithm created description digest env expires file fingerprint format from hash host id kind label "
    "name names namespace path present provider ref region scope scopes sha256 source status type updated "
    "uri url user username version"
)

#: Values that stand for a secret or for its absence.
PLACEHOLDERS = _words(
    "absent anonymous array ask auto bearer bool boolean bytes change-me change_me changeit changeme "
    "changethis default disabled dummy empty enabled env environment example false fixme float foobar "
    "hidden insert int integer keyring masked missing mypassword mysecret n/a none not-set null number "
    "object omitted optional password pass placeholder present prompt redacted removed replaceme required "
    "secret secretbytes secretstr set stdin string test testing todo token true undefined unknown unset "
    "unused user username your-password yes"
)


@cache
def _word() -> re.Pattern[str]:
    return re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@lru_cache(maxsize=8192)
def grade(name: str) -> int:
    """How surely a value under this name is a secret: NONE, WEAK, FIRM or STRONG; INHERITED for `secrets`."""
    if len(name) > 80 or name in _HARMLESS:
        return NONE
    if "/" in name:
        own = grade(name.rpartition("/")[2])
        return own if own >= FIRM else NONE
    words = [word.lower() for word in _word().findall(name)]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _VARIANTS):
        words.pop()
    if not words or (len(words) > 1 and words[0] in _ADVERBS and words != ["set", "cookie"]):
        return NONE
    if words[-3:] == ["access", "key", "id"]:
        return FIRM
    last = words[-1]
    noun = _SINGULAR.get(last, last)
    before = words[-2] if len(words) > 1 else ""
    return _noun_grade(noun, before, plural=noun != last, capital=name.isupper())


def _noun_grade(noun: str, before: str, *, plural: bool, capital: bool) -> int:
    if noun in _PASSWORDS or noun.endswith(("password", "passwd", "passphrase")):
        return STRONG
    if noun == "token":
        if before in _TOKEN_WORDS:
            return FIRM
        if plural or before in _TOKEN_HARMLESS:
            return NONE
        return FIRM if capital else WEAK
    if noun == "key":
        if before in _KEY_WORDS:
            return FIRM
        return WEAK if capital and before and not plural and before not in _KEY_HARMLESS else NONE
    if noun == "secret":
        return FIRM if before or capital else (INHERITED if plural else WEAK)
    if noun == "credential":
        return FIRM if capital else WEAK
    if noun == "pass":
        return FIRM if before and before not in _PASS_HARMLESS else NONE
    if noun == "pat":
        return WEAK if before in _SERVICES else NONE
    if noun in ("authorization", "passkey") or noun.endswith(_GLUED):
        return FIRM
    if before in ("password", "secret", "token") and noun in _SERVICES:
        return FIRM
    return WEAK if noun in ("auth", "bearer", "cookie", "jwt") else NONE


def is_secret_name(name: str) -> bool:
    """Whether a variable, key or option of this name holds a secret: `HF_TOKEN`, `db.password`, `authToken`.

    Names of files, counts, vocabularies and switches do not: `HF_TOKEN_PATH`, `max_tokens`, `pad_token`.
    """
    return grade(name) >= WEAK


@cache
def _reference() -> re.Pattern[str]:
    return re.compile(
        r"""\$?\{[^{}]*\}.{0,99} | \$\(.*\) | \{\{.*\}\} | \$[A-Z_][A-Z0-9_]* | %[A-Z_]+% | %\(\w+\)s
        | <[^<>]*>? | \[[A-Za-z_\ ]*\]? | \.{3}.* | [^*]{0,99}\*{3}.* | .*(?:\.{3}|…|EXAMPLE|EXAMPLEKEY)
        | [*xX.\-_#?•…]+
        | (?:env|file|vault|keyring|op|secret|sha\d{1,3}|md5)[:\-]\S*
        | [A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+ | [A-Z]{1,16}
        | (?i:your|my|the)[-_\ ].*
        | \d{4}-\d\d-\d\d(?:[T\ ][\d:.+Z\-]*)?""",
        re.X | re.S,
    )


@cache
def _location() -> re.Pattern[str]:
    return re.compile(
        r"""[a-z][a-z0-9+.\-]*://[^@]* | (?:aws:)?arn:.* | \#/.*
        | [a-z0-9][a-z0-9\-]{0,62}(?:\.[a-z0-9][a-z0-9\-]{0,62}){1,8}\.[a-z]{2,16}(?::\d{1,5})?
        | (?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[\w.\- ]{1,24}[/\\])+[\w.\- ]{0,40}
        | (?:[\w.\-]{1,24}/){0,16}[\w.\-]{1,24}\.(?:txt|json|ya?ml|toml|pem|key|env|ini|cfg)
        | /(?:etc|usr|var|home|tmp|run|opt|root|mnt|srv|Users)/.*""",
        re.X | re.S,
    )


@cache
def _chunk() -> re.Pattern[str]:
    # A capital starts each further word, so next to nothing is tried twice.
    return re.compile(
        r"[A-Z]{0,6}\d?[A-Z]?[a-z]{1,15}(?:[A-Z][a-z]{2,15}){0,6}\d{0,2}|[A-Z]{1,12}\d{0,2}|v?\d{1,8}|\d{1,4}[a-z]"
    )


@cache
def _prose() -> re.Pattern[str]:
    return re.compile(
        r"\b(?:must|is|are|not|required|missing|invalid|should|be|field|provided|set|too)\b", re.I
    )


def is_location(value: str) -> bool:
    """Whether a value is a path, a file name, a host, an ARN or a URL without user."""
    return bool(_location().fullmatch(value.strip()[:512]))


def is_placeholder(value: str) -> bool:
    """Whether a value is a word that is written where a secret would stand: `changeme`, `none`, `prompt`."""
    return value.strip().lower() in PLACEHOLDERS


def is_reference(value: str) -> bool:
    """Whether a value points to a secret or stands for one: `${HF_TOKEN}`, `HF_TOKEN`, `***`, a path."""
    return is_placeholder(value) or bool(_reference().fullmatch(value.strip()[:512])) or is_location(value)


def is_wordy(value: str) -> bool:
    """Whether a value is made of words, small numbers and separators: `hf-secret-2`, `Qwen2-Tokenizer`."""
    if len(value) > 200:
        return False
    chunks = "".join(c if c.isascii() and c.isalnum() else " " for c in value).split()
    return all(_chunk().fullmatch(chunk) for chunk in chunks)


def is_mixed(value: str) -> bool:
    """Whether capitals, small letters and digits all occur, as they do in nearly any drawn token."""
    return (
        any("A" <= c <= "Z" for c in value)
        and any("a" <= c <= "z" for c in value)
        and any("0" <= c <= "9" for c in value)
    )


def is_literal(value: str, sure: int) -> bool:
    """Whether the value under a name of that grade is itself the secret.

    The surer the name, the less the value must look like a secret: any literal does for a password, a
    bare `token` needs ten characters that are no words.
    """
    value = value.strip().strip("\"'")
    if sure == NONE or len(value) < 4 or is_reference(value):
        return False
    if sure == STRONG:
        return not (" " in value and _prose().search(value))
    if len(value) < {FIRM: 8, WEAK: 10, INHERITED: 16}[sure] or any(c.isspace() for c in value):
        return False
    if sure < FIRM and not ((value.isascii() and any(c.isdigit() for c in value)) or is_mixed(value)):
        return len(value) >= 24 and value.isascii() and not is_wordy(value)
    return not is_wordy(value)
