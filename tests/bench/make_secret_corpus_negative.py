# ruff: noqa: E501
"""The harmless half of the corpus: what real manifests, configs and messages hold, and what looks like a secret."""

from __future__ import annotations

import base64
import string
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from make_secret_corpus import Draw

HEX = "0123456789abcdef"
ALNUM = string.ascii_letters + string.digits

#: Documents that need no random part, by family. Each is one JSON document.
FIXED: dict[str, list[str]] = {
    "secret names": [
        '{"secrets":[{"name":"HF_TOKEN"}]}',
        '{"secrets":[{"name":"HF_TOKEN","present":true,"provider":"env"},{"name":"WANDB_API_KEY","present":false}]}',
        '{"secrets":["HF_TOKEN","AWS_SECRET_ACCESS_KEY"]}',
        '{"environment":{"forwarded":["HF_TOKEN","WANDB_API_KEY","OPENAI_API_KEY"]}}',
        '{"config":{"env":{"pass":["HF_TOKEN"],"set":{"MUJOCO_GL":"egl"}}}}',
        '{"runtime":{"secret_names":["huggingface-secret","wandb"]}}',
        '{"runtime":{"metadata":{"secret":"my-huggingface-secret"}}}',
    ],
    "references": [
        '{"hub":{"token":{"$secret":"HF_TOKEN"}}}',
        '{"hub":{"token":"${oc.env:HF_TOKEN}"}}',
        '{"hub":{"token":"${wf.secret:HF_TOKEN}"}}',
        '{"hub":{"token":"$HF_TOKEN","api_key":"WANDB_API_KEY"}}',
        '{"db":{"password":"${DB_PASSWORD}"}}',
        '{"db":{"password":"{{ db_password }}"}}',
        '{"overrides":["hub.token=${oc.env:HF_TOKEN}","seed=3"]}',
        '{"argv":["train.py","--api-key","$WANDB_API_KEY"]}',
        '{"message":"run: export HF_TOKEN=$(cat token.txt)"}',
    ],
    "masked": [
        '{"argv":["train.py","--api-key","***","--lr","0.1"]}',
        '{"git":{"remote":"https://***@example.org/a/b.git"}}',
        '{"git":{"remote":"https://bob:***@example.org/a/b.git"}}',
        '{"hub":{"token":"<redacted>","password":"[REDACTED]","api_key":"xxxxxxxxxxxx"}}',
        '{"message":"Authorization: Bearer ***"}',
        '{"hub":{"token":"********"}}',
        '{"hub":{"api_key":"<your-api-key>"}}',
        '{"message":"set --token YOUR_TOKEN or HF_TOKEN=<token>"}',
    ],
    "empty": [
        '{"hub":{"token":null,"password":"","api_key":false,"secret":true}}',
        '{"hub":{"token":"none","auth":"auto","password":"prompt","credentials":"default"}}',
        '{"hub":{"token":true,"use_auth_token":false}}',
        '{"hub":{"auth":{"method":"oauth2","enabled":true}}}',
    ],
    "token counts": [
        '{"generation":{"max_tokens":512,"max_new_tokens":2048,"min_tokens":0}}',
        '{"usage":{"prompt_tokens":100234567,"completion_tokens":99123456,"total_tokens":199358023}}',
        '{"data":{"token_count":123456789012,"tokens_per_second":10234.5678901}}',
        '{"metrics":{"tokens":{"value":1000000000000},"train/token":{"value":12.34567890123}}}',
        '{"metrics":[{"name":"token_accuracy","value":0.98765432101}]}',
        '{"model":{"num_image_tokens":576,"token_dim":1024,"tokens_per_frame":256}}',
        '{"overrides":["max_tokens=512","data.token_count=12345678901","tokens=1000000000"]}',
    ],
    "tokenizers": [
        '{"tokenizer":"bert-base-uncased"}',
        '{"tokenizer_class":"LlamaTokenizerFast","tokenizer_revision":"9c1b2d3e4f5a69788796a5b4c3d2e1f001122334"}',
        '{"tokenizer":{"name":"google/paligemma-3b-pt-224","path":"/models/tokenizer.json"}}',
        '{"overrides":["tokenizer=Qwen2TokenizerFast","model.tokenizer_name=gpt2-medium-v2"]}',
        '{"environment":{"variables":{"TOKENIZERS_PARALLELISM":"false"}}}',
        '{"packages":{"tokenizers":"0.22.1","sentencepiece":"0.2.1","tiktoken":"0.12.0"}}',
        '{"preprocessor":{"action_tokenizer":"physical-intelligence/fast","tokenizer_max_length":48}}',
    ],
    "special tokens": [
        '{"eos_token":"<|endoftext|>","bos_token":"<s>","pad_token":"[PAD]","unk_token":"<unk>"}',
        '{"eos_token_id":50256,"pad_token_id":0,"bos_token_id":128000}',
        '{"image_token":"<image>","image_token_index":32000,"mask_token":"[MASK]"}',
        '{"additional_special_tokens":["<|im_start|>","<|im_end|>"]}',
        '{"stop_tokens":["</s>","<|eot_id|>"],"cls_token":"[CLS]","sep_token":"[SEP]"}',
        '{"token":"hello","next_token":"world","tokens":["The","quick","brown","fox2"]}',
        '{"action_token":"<|reserved_special_token_117|>","token_type":"subword"}',
    ],
    "pagination": [
        '{"next_token":"AAMCAgACAQIDBAUGBwgJCgsMDQ4PEBESExQ1","page_token":"CAUQAA2f9a0b3c4d5e6f70819"}',
        '{"metadata":{"client_token":"0f8fad5b-d9cb-469f-a165-70867728950e"}}',
        '{"metadata":{"idempotency_key":"0f8fad5b-d9cb-469f-a165-70867728950e"}}',
    ],
    "keys": [
        '{"key":"value","keys":["a","b"],"primary_key":"client_run_id","foreign_key":"workspace_id"}',
        '{"cache_key":"9f86d081884c7d659a2feaa0c55ad015","sort_key":"2026-11-21T03:00:00Z"}',
        '{"rng_key":[0,42],"prng_key":[3735928559,12345678]}',
        '{"model":{"num_key_value_heads":8,"key_dim":64,"qkv_bias":true,"key_padding":0}}',
        '{"observation":{"keypoints":[[0.1,0.2]],"key_frames":[1,20,300],"keyboard":"qwerty-us-intl-2"}}',
        '{"s3":{"key":"runs/2026/11/21/019aa1c2-7d40-7c3e-9b1a-4f3c2b1a0d9e/model.safetensors"}}',
        '{"object_key":"datasets/pusht/v3.0/data/chunk-000/file-000.parquet"}',
        '{"env_key":"019aa1c27d407c3e9b1a4f3c2b1a0d9e","key_sha256":"4d1c6e6a7b6b6d9f1d4f42b0b3d9a6e8f33bb0e1c5a7a53f8d1c9e7b2a4f6c80"}',
        '{"signing":{"public_key":"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=","key_id":"ed25519-7f3a"}}',
    ],
    "words": [
        '{"author":"A. Researcher","authors":["B. Author"],"authority":"example.org","authenticated":true}',
        '{"secretary":"desk-42","passenger_count":3,"bypass":true,"passed":120,"pass_rate":0.98765432}',
        '{"forward_pass":"fused-kernel-v2","low_pass":0.5,"high_pass_filter":"butterworth4","passes":3}',
        '{"metrics":{"pass@1":{"value":0.8412345678},"pass@10":{"value":0.91}}}',
        '{"compass":"north","monkey":"business","turkey":"istanbul","hockey":{"sticks":2}}',
        '{"description":"token-free byte model; secret sauce: none; passwordless auth"}',
        '{"tags":["secret-agent","key-result","password-less","token-mixing","authn"]}',
        '{"env":{"id":"SecretGarden-v2","name":"KeyDoor-16x16-v0","reset_key":false}}',
    ],
    "messages": [
        '{"message":"Unexpected token \'<\', \\"<!DOCTYPE \\"... is not valid JSON"}',
        '{"message":"SyntaxError: unexpected token: identifier42"}',
        '{"message":"HF_TOKEN is not set; run: export HF_TOKEN=... and try again"}',
        '{"message":"Bearer authentication required; Basic authentication is switched off"}',
        '{"message":"WWW-Authenticate: Bearer realm=\\"example\\",service=\\"registry\\",scope=\\"pull\\""}',
        '{"message":"invalid password: must be at least 8 characters"}',
        '{"message":"Authorization: Bearer token missing"}',
        '{"message":"the API key was refused (401); api_key: not valid"}',
        '{"message":"missing required argument --api-key; see --help"}',
        '{"message":"TypeError: f() got an unexpected keyword argument \'token\'"}',
        '{"message":"password = getpass.getpass(prompt)"}',
        '{"message":"token = tokenizer.decode(ids[0])"}',
        '{"message":"def login(token: Optional[str] = None, password: str = \'\') -> None"}',
        '{"message":"secret: HF_TOKEN (env), WANDB_API_KEY (keyring)"}',
        '{"message":"private key file /home/bob/.ssh/id_ed25519 has mode 0644"}',
    ],
    "argv": [
        '{"argv":["train.py","--max-tokens","512","--tokenizer","bert-base-uncased"]}',
        '{"argv":["worldflux","auth","login","--with-token"]}',
        '{"argv":["worldflux","auth","login","--allow-plaintext","--with-token","--server","https://example.org"]}',
        '{"argv":["docker","login","--password-stdin","-u","bob"]}',
        '{"argv":["x","--auth","none","--no-token","--key-frames","10,20,30"]}',
        '{"argv":["x","--token-file","/run/secrets/hf","--password-file","pw.txt"]}',
        '{"argv":["x","--token","--verbose","--seed","12345678"]}',
        '{"command":"python train.py --tokenizer gpt2 --token-count 12345678 --secret-name hf-secret"}',
        '{"argv":["python","run.py","--episodes","50","--seed","7","--keys","a1b2c3d4e5f6"]}',
        '{"usage":"tool [--api-key KEY] [--token TOKEN] [--password PASSWORD]"}',
    ],
    "urls": [
        '{"remote":"https://github.com/acme/pusht-recipes.git"}',
        '{"remote":"git@github.com:acme/pusht-recipes.git"}',
        '{"remote":"ssh://git@example.org:2222/acme/pusht.git"}',
        '{"remote":"https://bob@example.org/acme/pusht.git"}',
        '{"uri":"hf://datasets/lerobot/pusht@v3.0"}',
        '{"uri":"https://huggingface.co/lerobot/act/resolve/9c1b2d3e4f5a69788796a5b4c3d2e1f001122334/model.safetensors"}',
        '{"uri":"https://example.org/list?page_token=CAUQAA&max_tokens=100&sort_key=created_at"}',
        '{"uri":"https://example.org:8443/a@b/c:d@e"}',
        '{"email":"bob@example.org","orcid":"https://orcid.org/0000-0002-1825-0097"}',
        '{"uri":"https://example.org/auth/token?next=/runs/1234567890abcdef"}',
        '{"token_url":"https://login.example.org/oauth2/v2.0/token","auth_url":"https://login.example.org/auth"}',
        '{"image":"ghcr.io/acme/runner:2026.11.21-cuda13","proxy":"http://proxy.local:3128"}',
        '{"tracking_uri":"sqlite:////home/bob/mlruns.db","store":"s3://bucket/prefix@latest"}',
    ],
    "packages": [
        '{"packages":{"keyring":"25.7.0","SecretStorage":"3.5.0","passlib":"1.7.4","PyJWT":"2.10.1","authlib":"1.6.5"}}',
        '{"packages":{"hf-transfer":"0.1.9","hf_xet":"1.2.0","sk-video":"1.1.10","npm_check":"1.0","pypi-simple":"1.8"}}',
        '{"packages":{"detect-secrets":"1.5.0","python-jose":"3.5.0","google-auth":"2.41.1","tokenize-rt":"6.2.0"}}',
        '{"overrides":["+recipe=sk-learn-baseline","tags=[hf_hub_download,npm_install,as-is]"]}',
    ],
    "paths": [
        '{"credentials":"~/.aws/credentials","token":"/run/secrets/hf_token"}',
        '{"token_path":"/home/bob/.cache/huggingface/token","secrets_dir":"./secrets"}',
        '{"path":"/home/bob/.worldflux/environments/4f1c0a7be2b0a4c1c3ccf6d1d2b9a7b2f1f0e9d8/bin/python"}',
        '{"path":"outputs/2026-11-21/10-00-00/checkpoints/step_0000100000/pytorch_model-00001-of-00003.bin"}',
        '{"path":"artifacts/task-019aa1c27d407c3e9b1a4f3c2b1a0d9e/disk-0123456789abcdef0123456789abcdef.img"}',
        '{"private_key":"~/.ssh/id_ed25519","ssh_key":"/etc/ssh/keys/runner.pem"}',
        '{"kubeconfig":"C:\\\\Users\\\\bob\\\\.kube\\\\config","password_file":"secrets/db.txt"}',
    ],
    "hardware": [
        '{"gpu":{"uuid":"GPU-3b2f1a0c-9d8e-7f6a-5b4c-3d2e1f001122","model":"NVIDIA H100 80GB HBM3"}}',
        '{"cpu":{"model":"AMD EPYC 9R14","flags":"fpu vme de pse tsc msr pae mce cx8 apic sep mtrr sha_ni vaes"}}',
        '{"hostname":"ip-10-20-30-40.ec2.internal","machine_id":"4f1c0a7be2b0a4c1c3ccf6d1d2b9a7b2"}',
        '{"memory_bytes":68719476736,"driver":{"nvidia":"580.65.06"}}',
    ],
    "settings": [
        '{"auth":"bearer","credentials_provider":"instance-profile","token_ttl_seconds":21600}',
        '{"auth_method":"oidc-federation2","secret_backend":"vault-kv-v2","password_policy":"nist-800-63b"}',
        '{"session":{"cookie_name":"wf_session","cookie_secure":true,"csrf_token_header":"X-CSRF-Token"}}',
        '{"token_bucket":{"rate":10,"burst":100},"token_expiry":"2026-12-21T00:00:00+00:00"}',
        '{"required_scopes":["runs:write"],"api_key_id":"key_019aa1c2","key_fingerprint":"SHA256:Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv"}',
        '{"password_hash_algorithm":"argon2id-v19","secret_count":3,"credential_type":"service-account-v1"}',
        '{"token_merging":{"ratio":0.5},"secret_santa":"elf-12","auth_required":true}',
    ],
}


#: Family, form and document.
Row = tuple[str, str, str]
LOWER = string.ascii_lowercase + string.digits


def random_base64(draw: Draw, count: int) -> str:
    return base64.b64encode(draw.random.randbytes(count)).decode()


def digest_rows(draw: Draw) -> list[Row]:
    """Digests and UUIDs under ordinary names, in lock files and in overrides."""
    rows: list[Row] = []
    for size, names in {
        64: ("sha256", "digest", "etag", "tree", "model_hash"),
        40: ("commit", "revision", "sha1", "git_sha", "build"),
        32: ("md5", "checksum", "id"),
        128: ("sha512", "blake2b"),
    }.items():
        rows += [
            (f"digest {name}", "json", f'{{"inputs":[{{"{name}":"{draw.of(HEX, size)}"}}]}}')
            for name in names
        ]
    hashes = " ".join(f"--hash=sha256:{draw.of(HEX, 64)}" for _ in range(3))
    uuids = ["-".join(draw.of(HEX, size) for size in (8, 4, 4, 4, 12)) for _ in range(6)]
    rows += [
        ("digest prefixed", "json", f'{{"image":"ghcr.io/acme/runner@sha256:{draw.of(HEX, 64)}"}}'),
        (
            "digest prefixed",
            "json",
            f'{{"digest":"sha256:{draw.of(HEX, 64)}","integrity":"sha384-{random_base64(draw, 48)}"}}',
        ),
        (
            "digest prefixed",
            "json",
            f'{{"token_sha256":"{draw.of(HEX, 64)}","secret_fingerprint":"{draw.of(HEX, 16)}"}}',
        ),
        (
            "lock",
            "text",
            f"numpy==2.4.6 \\\n    {hashes}\ntokenizers==0.22.1 \\\n    --hash=sha256:{draw.of(HEX, 64)}\n",
        ),
        ("lock", "json", f'{{"lock":"gymnasium==1.2.1 {hashes}"}}'),
        ("lock", "text", f'[[packages]]\nname = "tokenizers"\nhashes = {{sha256 = "{draw.of(HEX, 64)}"}}\n'),
        ("uuid", "json", f'{{"client_run_id":"{uuids[0]}","parent":"{uuids[1]}"}}'),
        ("uuid", "json", f'{{"sandbox":"sb-{uuids[2]}","request_id":"{uuids[3]}"}}'),
        ("uuid", "json", f'{{"overrides":["run.id={uuids[4]}","sweep_id={uuids[5]}"]}}'),
    ]
    return rows


def identity_rows(draw: Draw) -> list[Row]:
    """Ids of providers, encoded data, signatures, and names that begin like a token."""

    def b64(count: int) -> str:
        return random_base64(draw, count)

    return [
        ("provider id", "json", f'{{"app_id":"ap-{draw.of(ALNUM, 22)}","function_call_id":"fc-01{draw.of(string.ascii_uppercase + string.digits, 24)}"}}'),
        ("provider id", "json", f'{{"sandbox_id":"sb-{draw.of(ALNUM, 22)}","image_id":"im-{draw.of(ALNUM, 22)}","volume_id":"vo-{draw.of(ALNUM, 22)}"}}'),
        ("provider id", "json", f'{{"instance_id":"i-0{draw.of(HEX, 16)}","ami":"ami-0{draw.of(HEX, 16)}","sg":"sg-0{draw.of(HEX, 16)}"}}'),
        ("provider id", "json", f'{{"prediction_id":"{draw.of(LOWER, 26)}","version":"{draw.of(HEX, 64)}"}}'),
        ("provider id", "json", f'{{"output":"https://replicate.delivery/pbxt/{draw.of(ALNUM, 44)}/out.mp4"}}'),
        ("provider id", "json", f'{{"account_sid":"AC{draw.of(HEX, 32)}"}}'),
        ("provider id", "json", f'{{"wandb_run":"https://wandb.ai/acme/pusht/runs/{draw.of(LOWER, 8)}"}}'),
        ("provider id", "json", f'{{"arn":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:hf-token-{draw.of(ALNUM, 6)}"}}'),
        ("image data", "json", f'{{"thumbnail":"data:image/png;base64,{b64(900)}"}}'),
        ("image data", "json", f'{{"preview":"{b64(1200)}"}}'),
        ("signature", "json", f'{{"payloadType":"application/vnd.in-toto+json","payload":"eyJ{b64(600)}","signatures":[{{"sig":"{b64(64)}"}}]}}'),
        ("signature", "json", f'{{"certificate":"-----BEGIN CERTIFICATE-----\\n{b64(48)}\\n{b64(48)}\\n-----END CERTIFICATE-----\\n"}}'),
        ("signature", "json", f'{{"public":"-----BEGIN PUBLIC KEY-----\\n{b64(48)}\\n-----END PUBLIC KEY-----"}}'),
        ("signature", "json", f'{{"host_key":"ssh-ed25519 AAAA{b64(48)} runner"}}'),
        ("lookalike wfx", "json", f'{{"note":"wfx_{draw.of(ALNUM, 39)}"}}'),
        ("lookalike wfx", "json", f'{{"name":"wfx_demo_run_2026","id":"wfx_{draw.of(LOWER, 12)}"}}'),
        ("lookalike prefix", "json", f'{{"tag":"hf_hub_download_{draw.of(LOWER, 8)}","job":"task-{draw.of(ALNUM, 22)}"}}'),
        ("lookalike prefix", "json", f'{{"disk":"disk-{draw.of(HEX, 40)}","file":"risk-{draw.of(ALNUM, 48)}.csv"}}'),
        ("lookalike prefix", "json", f'{{"name":"SG.small.{draw.of(LOWER, 8)}","tag":"r8_{draw.of(LOWER, 6)}"}}'),
        ("lookalike prefix", "json", f'{{"slug":"sk-learn-{draw.of(LOWER, 6)}-pipeline-with-standard-scaler-and-ridge"}}'),
        ("lookalike prefix", "json", f'{{"gene":"AKIA{draw.of(string.ascii_lowercase, 16)}","seq":"{draw.of("ACGT", 60)}"}}'),
        ("checkpoint names", "json", f'{{"path":"ckpt/epoch=12-step={draw.of(string.digits, 8)}-val_loss=0.{draw.of(string.digits, 8)}.ckpt"}}'),
        ("checkpoint names", "json", f'{{"overrides":["model.hidden={draw.of(string.digits, 4)}","optim.lr=3e-4","run_name=act-{draw.of(LOWER, 10)}"]}}'),
        ("numbers", "json", f'{{"seed":{draw.of("123456789", 9)},"steps":{draw.of("123456789", 12)},"loss":0.{draw.of(string.digits, 16)}}}'),
        ("numbers", "json", f'{{"series":[0.{draw.of(string.digits, 16)},-1.{draw.of(string.digits, 15)},1e-09]}}'),
        ("jsonl", "text", '{"name":"loss","step":1,"value":0.5}\n{"name":"tokens","step":1,"value":1000000000}\n'),
        ("yaml", "text", f"hub:\n  token: ${{oc.env:HF_TOKEN}}\n  revision: {draw.of(HEX, 40)}\nmax_tokens: 512\ntokenizer: bert-base-uncased\n"),
        ("yaml", "text", "env:\n  pass: [HF_TOKEN]\n  set: {TOKENIZERS_PARALLELISM: 'false'}\npassword: null\nsecret: ${DB_SECRET}\n"),
    ]  # fmt: skip


#: Environments that must not poison a document: names whose values are no secrets, short or placeholder values.
VISIBLE: list[tuple[dict[str, str], str]] = [
    ({"HF_TOKEN_PATH": "/home/bob/.cache/huggingface/token"}, '{"path":"/home/bob/.cache/huggingface/token"}'),
    ({"TOKENIZERS_PARALLELISM": "disabled"}, '{"mode":"disabled"}'),
    ({"HF_TOKEN": "abc"}, '{"name":"abcdef"}'),
    ({"DB_PASSWORD": "changeme"}, '{"message":"changeme later"}'),
    ({"AUTH_METHOD": "password-file"}, '{"auth":"password-file"}'),
    ({"GIT_ASKPASS": "/usr/bin/ksshaskpass"}, '{"path":"/usr/bin/ksshaskpass"}'),
    ({"GOOGLE_APPLICATION_CREDENTIALS": "/etc/gcp/key.json"}, '{"path":"/etc/gcp/key.json"}'),
    ({"PWD": "/home/bob/project-x1", "OLDPWD": "/home/bob/other-x2"}, '{"cwd":"/home/bob/project-x1","was":"/home/bob/other-x2"}'),
    ({"MAX_TOKENS": "1000000000"}, '{"n":1000000000}'),
    ({"OAUTH_TOKEN_URL": "https://login.example.org/token"}, '{"url":"https://login.example.org/token"}'),
    ({"SECRET_NAME": "hf-secret-prod"}, '{"secret_name":"hf-secret-prod"}'),
    ({"SSH_AUTH_SOCK": "/tmp/ssh-abc/agent.12345"}, '{"sock":"/tmp/ssh-abc/agent.12345"}'),
    ({"KEYBOARD_LAYOUT": "us-international"}, '{"layout":"us-international"}'),
    ({"CACHE_KEY": "linux-py311-abc123"}, '{"cache":"linux-py311-abc123"}'),
    ({"HTTPS_PROXY": "http://proxy.corp.example:3128"}, '{"proxy":"http://proxy.corp.example:3128"}'),
    ({"HF_TOKEN": "placeholder"}, '{"note":"placeholder text"}'),
    ({"PASSWORD_STORE_DIR": "/home/bob/.password-store"}, '{"dir":"/home/bob/.password-store"}'),
    ({"GPG_KEY": "A035C8C19219BA821ECEA86B64E628F8D684696D"}, '{"python":{"gpg":"A035C8C19219BA821ECEA86B64E628F8D684696D"}}'),
    ({"WORLDFLUX_RUN_ID": "019aa1c2-7d40-7c3e-9b1a-4f3c2b1a0d9e"}, '{"id":"019aa1c2-7d40-7c3e-9b1a-4f3c2b1a0d9e"}'),
    ({"HF_TOKEN": "Zk3vQ9xw2LmN8rTb"}, '{"secrets":[{"name":"HF_TOKEN"}]}'),
]  # fmt: skip


def lines(draw: Draw) -> list[dict[str, Any]]:
    """All harmless documents. A fixed family is cut in three, so that no idea is wholly held out or wholly known."""
    rows: list[dict[str, Any]] = []
    for family, bodies in FIXED.items():
        rows += [
            {"family": f"{family} {i % 3}", "form": "json", "body": body} for i, body in enumerate(bodies)
        ]
    rows += [
        {"family": family, "form": form, "body": body}
        for family, form, body in (*digest_rows(draw), *identity_rows(draw))
    ]
    header = "-----BEGIN " + "PRIVATE KEY-----"
    for body in ('{"message":"expected @0@ at line 1"}', '{"rule":"@0@ without a body"}'):
        rows.append({"family": "messages pem", "form": "json", "body": body, "value": header})
    for index, (env, body) in enumerate(VISIBLE):
        rows.append({"family": f"visible {index % 7}", "form": "json", "body": body, "env": env})
    return rows
