"""The first stage: what EC2 runs at boot. Fuses first, then one download, then the power goes off."""

from __future__ import annotations

import datetime
import math
import shlex

from worldflux.errors import WorldFluxError

#: AWS's limit on user data before base64.
LIMIT_BYTES = 16 * 1024
WORK = "/var/lib/worldflux"

_SCRIPT = r"""#!/bin/bash
# WorldFlux run @RUN@, attempt @ATTEMPT@. This machine switches itself off at @CALENDAR@ UTC.
# First the fuses: nothing above them may fail, wait or need the network.
D=@DEADLINE@
cat > /etc/systemd/system/worldflux-fuse.service <<'UNIT'
@SERVICE@UNIT
cat > /etc/systemd/system/worldflux-fuse.timer <<'UNIT'
@TIMER@UNIT
systemctl daemon-reload && systemctl enable --now worldflux-fuse.timer || echo "worldflux: no timer fuse"
(trap '' HUP TERM INT
 while [ "$(date +%s)" -lt "$D" ]; do sleep "$(( D - $(date +%s) > 10 ? 10 : 1 ))"; done
 shutdown -P now || systemctl poweroff || poweroff; sleep 60
 systemctl poweroff --force --force) </dev/null >/dev/null 2>&1 &
echo "worldflux: fuses lit until @CALENDAR@ UTC"
umask 077; mkdir -p @WORK@ && cd @WORK@ || cd "$(mktemp -d)"
get() {
  curl -fsS --retry 6 --retry-delay 2 --retry-connrefused --max-time 300 -o bundle "$1" ||
  python3 -c 'import sys, urllib.request as u; u.urlretrieve(sys.argv[1], "bundle")' "$1"
}
if get @URL@ && echo '@SHA256@  bundle' | sha256sum -c --quiet -; then
  (sleep 5; shutdown -P "+@MINUTES@" "WorldFlux deadline") </dev/null >/dev/null 2>&1 &
  python3 bundle; echo "worldflux: the agent left with $?"
else
  echo "worldflux: the agent could not be fetched"
fi
shutdown -P now || systemctl poweroff || poweroff
"""

_SERVICE = """\
[Unit]
Description=WorldFlux: this machine has reached its deadline
DefaultDependencies=no

[Service]
Type=oneshot
KillMode=none
ExecStart=-/usr/bin/systemctl poweroff
ExecStart=/usr/bin/sleep 60
ExecStart=-/usr/bin/systemctl poweroff --force --force
"""

_TIMER = """\
[Unit]
Description=WorldFlux: deadline of this machine

[Timer]
OnCalendar=@CALENDAR@ UTC
OnBootSec=@SECONDS@
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
"""


def units(deadline: float, now: float) -> dict[str, str]:
    """The systemd units of the first fuse, by file name. Absolute time: a reboot changes nothing."""
    timer = _TIMER.replace("@CALENDAR@", _calendar(deadline))
    seconds = str(max(1, math.ceil(deadline - now)))
    return {
        "worldflux-fuse.service": _SERVICE,
        "worldflux-fuse.timer": timer.replace("@SECONDS@", seconds),
    }


def render(*, run_id: str, attempt: int, deadline: float, now: float, url: str, sha256: str) -> str:
    """User data of one launch.

    Args:
        deadline: seconds since the epoch; the machine is off by then.
        url: presigned, of the second stage. The only URL in here: whoever may call
            DescribeInstanceAttribute reads it, and what it names is gone once the machine has it.

    Raises:
        WorldFluxError: it is larger than EC2 takes.
    """
    files = units(deadline, now)
    words = {
        "RUN": run_id,
        "ATTEMPT": str(attempt),
        "CALENDAR": _calendar(deadline),
        "DEADLINE": str(math.floor(deadline)),
        "MINUTES": str(max(1, math.ceil((deadline - now) / 60) + 1)),
        "SERVICE": files["worldflux-fuse.service"],
        "TIMER": files["worldflux-fuse.timer"],
        "WORK": WORK,
        "URL": shlex.quote(url),
        "SHA256": sha256,
    }
    text = _SCRIPT
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    if len(text.encode()) > LIMIT_BYTES:
        raise WorldFluxError(
            f"the user data would have {len(text.encode())} bytes, EC2 takes {LIMIT_BYTES}",
            "use credentials with a shorter session token, or report this",
            code="user_data",
        )
    return text


def _calendar(moment: float) -> str:
    """A time as systemd's OnCalendar has it, without the zone."""
    whole = datetime.datetime.fromtimestamp(math.floor(moment), tz=datetime.timezone.utc)
    return whole.strftime("%Y-%m-%d %H:%M:%S")
