"""This machine: its processor, memory and accelerators, and which process on it owns a run."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldflux.manifest.parts import Accelerator, Cpu, Hardware, Owner

#: Seconds that the driver's program may take.
TIME_LIMIT = 20.0

_NVIDIA_DEVICE = Path("/dev/nvidiactl")
_SMI_FIELDS = "name,memory.total,compute_cap,mig.mode.current,driver_version"


def hardware() -> Hardware:
    """Processor, memory and accelerators; what can not be found out is None.

    All accelerators of the machine, whether or not the run may use them. No identifier of a
    device or of the machine.
    """
    accelerators, driver, cuda = _nvidia()
    return {
        "cpu": _cpu(),
        "memory_bytes": _memory(),
        "accelerators": accelerators,
        "driver": driver,
        "cuda": cuda,
    }


def owner() -> Owner:
    """This process, precisely enough for `owner_alive` to know it again."""
    return {
        "host": _host(),
        "boot_id": _boot_id(),
        "pid": os.getpid(),
        "pid_started": _started(os.getpid()),
        "pid_namespace": _pid_namespace(),
    }


def owner_alive(owner: Owner) -> bool | None:
    """Whether the process that `owner()` described still runs.

    A reboot since then, a pid that another process has now, and a process that ended but was
    not waited for all count as no.

    Returns:
        None when this machine can not tell: another host, another container, or a process
        that this user may not look at.
    """
    if owner["host"] != _host():
        return None
    boot = _boot_id()
    if boot is not None and owner["boot_id"] is not None and boot != owner["boot_id"]:
        return False
    namespace = owner.get("pid_namespace")
    if namespace is not None and namespace != _pid_namespace():
        return None
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    started = _started(owner["pid"])
    if started is None or owner["pid_started"] is None:
        return None
    return started == owner["pid_started"]


def _host() -> str:
    """A digest that tells machines apart without naming them: machine-id is not to be published."""
    try:
        identity = Path("/etc/machine-id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        identity = ""
    return hashlib.sha256(f"worldflux owner\n{identity}\n{os.uname().nodename}".encode()).hexdigest()[:16]


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def _pid_namespace() -> int | None:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None


def _started(pid: int) -> int | None:
    """When a process started, in a unit of the system's own; 0 for one that has ended, None: unknown."""
    if sys.platform == "darwin":
        return _started_darwin(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()  # the name before it may hold anything
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def _started_darwin(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return 0 if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 1000)
    except psutil.Error:
        return None


def _cpu() -> Cpu:
    model = None
    cores: set[tuple[str, str]] = set()
    package = ""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in ("model name", "Model", "Hardware") and value:
            model = model or value
        elif key == "physical id":
            package = value
        elif key == "core id":
            cores.add((package, value))
    if sys.platform == "darwin":
        model = _output("sysctl", "-n", "machdep.cpu.brand_string") or None
    return {
        "model": _line(model),
        "logical": os.cpu_count(),
        "physical": len(cores) or _cores_from_topology(),
    }


def _cores_from_topology() -> int | None:
    """Physical cores where /proc/cpuinfo has no core ids, as on ARM."""
    if sys.platform == "darwin":
        text = _output("sysctl", "-n", "hw.physicalcpu")
        return int(text) if text.isdigit() else None
    siblings = set()
    for file in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"):
        try:
            siblings.add(file.read_text("ascii").strip())
        except OSError:
            return None
    return len(siblings) or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _nvidia() -> tuple[list[Accelerator], str | None, str | None]:
    """Accelerators, driver version, newest CUDA version of the driver; nothing without its device."""
    if not _NVIDIA_DEVICE.exists():
        return [], None, None
    try:
        import pynvml
    except ImportError:
        return _nvidia_smi()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return _nvidia_smi()
    try:
        return _nvml(pynvml)
    except pynvml.NVMLError:
        return _nvidia_smi()
    finally:
        pynvml.nvmlShutdown()


def _nvml(library: Any) -> tuple[list[Accelerator], str | None, str | None]:
    found: list[Accelerator] = []
    for index in range(library.nvmlDeviceGetCount()):
        handle = library.nvmlDeviceGetHandleByIndex(index)
        major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
        entry: Accelerator = {
            "vendor": "nvidia",
            "model": str(_line(library.nvmlDeviceGetName(handle))),
            "memory_bytes": int(library.nvmlDeviceGetMemoryInfo(handle).total),
            "compute_capability": f"{major}.{minor}",
        }
        try:
            entry["mig"] = library.nvmlDeviceGetMigMode(handle)[0] == 1
        except library.NVMLError:  # a device that can not be split
            entry["mig"] = False
        found.append(entry)
    cuda = library.nvmlSystemGetCudaDriverVersion_v2()
    return found, str(library.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}"


def _nvidia_smi() -> tuple[list[Accelerator], str | None, str | None]:
    found: list[Accelerator] = []
    driver = None
    text = _output("nvidia-smi", f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits")
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 5:
            continue
        model, memory, capability, mig, driver = fields
        entry: Accelerator = {
            "vendor": "nvidia",
            "model": str(_line(model)),
            "memory_bytes": int(memory) * 1024 * 1024 if memory.isdigit() else None,
            "mig": mig == "Enabled",
        }
        if capability[:1].isdigit():
            entry["compute_capability"] = capability
        found.append(entry)
    return found, driver, None


def _output(program: str, *arguments: str) -> str:
    """What a program of the system prints; empty when it is missing or fails."""
    import shutil
    import subprocess

    path = shutil.which(program)
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def _line(text: Any) -> str | None:
    if text is None:
        return None
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return " ".join("".join(each if each.isprintable() else " " for each in plain).split())[:512]
