"""Names that break out of wherever they are pasted in, through every field of a run."""

from __future__ import annotations

from reading import NAUGHTY, listed, store
from sent_runs import SentRun
from server_process import Server


def test_hostile_names_everywhere(shared_server: Server) -> None:
    """Whatever people write as names, tags, notes and parameters is found, filtered, grouped and shown as it is."""
    project, runs = "hostile", []
    for text in NAUGHTY:
        params = {"params": {"text": text, text: 1}, "seed": 1}
        runs.append(SentRun(project=project, name=text, tags=[text], params=params))
    store(shared_server, *runs)
    for text, run in zip(NAUGHTY, runs, strict=True):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        assert run.run_id in listed(
            shared_server, project=project, filter=f'params.text = "{quoted}"', limit=500
        ), text
        name = run.name.replace("\\", "\\\\").replace('"', '\\"')
        assert listed(shared_server, project=project, filter=f'name = "{name}"') == [run.run_id]
        assert listed(shared_server, project=project, filter=f'tags has "{name}"') == [run.run_id]
        assert run.run_id in listed(shared_server, project=project, filter=f'params."{name}" = 1'), text
        change = {"notes": text, "tags": [run.name, "second"]}
        shown = shared_server.call("PATCH", f"/api/runs/{run.run_id}", json=change, expect=200).json()
        assert (shown["notes"], shown["name"]) == (text, run.name)
    groups = shared_server.call(
        "GET", "/api/runs/groups", params={"project": project, "by": "name"}, expect=200
    ).json()
    assert sorted(group["key"] for group in groups["groups"]) == sorted(run.name for run in runs)
    for group in groups["groups"]:
        assert len(listed(shared_server, project=project, filter=group["filter"])) == 1
    places = ("project", "filter", "sort", "columns", "cursor")
    for number, text in enumerate(NAUGHTY * 2):
        where = places[number % len(places)]
        answer = shared_server.call("GET", "/api/runs", params={where: text})
        assert answer.status_code in (200, 404, 422), (where, text, answer.text)
