"""A client in Python, generated from the description of the API: client.py ADDRESS TOKEN"""
import json
import sys

from trainyard_client import AuthenticatedClient
from trainyard_client.api.builds import cancel_build, get_build, list_builds, request_build
from trainyard_client.api.jobs import get_job, get_log
from trainyard_client.api.you import get_me
from trainyard_client.models import NewBuild, ProblemDetails

address, token = sys.argv[1:]
client = AuthenticatedClient(base_url=address, token=token)

me = get_me.sync(client=client)
page = list_builds.sync("acme", "open", client=client, limit=1)
rest = list_builds.sync("acme", "open", client=client, before=page.next_)
build = get_build.sync("acme", "open", rest.builds[-1].number, client=client)
job = get_job.sync(build.jobs[0].id, client=client)
log = get_log.sync_detailed(job.id, client=client)
missing = get_build.sync("acme", "open", 99, client=client)
assert isinstance(missing, ProblemDetails), missing
known = list_builds.sync_detailed("acme", "open", client=client, limit=1)
same = list_builds.sync_detailed("acme", "open", client=client, limit=1, if_none_match=known.headers["etag"])
asked = request_build.sync_detailed("acme", "open", client=client, body=NewBuild(branch="main"))
canceled = [
    cancel_build.sync("acme", "open", 2, client=client, idempotency_key="python").canceled for _ in range(2)
]

print(
    json.dumps(
        {
            "me": f"{me.name} {me.scope.value}",
            "builds": [f"{one.number} {one.state.value}" for one in page.builds + rest.builds],
            "job": f"{job.title} {job.verdict.value} {job.build.number}",
            "log": log.content.decode(),
            "missing": f"{missing.status} {missing.title}",
            "same": same.status_code.value,
            "asked": asked.status_code.value,
            "canceled": canceled,
        }
    )
)
