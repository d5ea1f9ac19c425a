"""CircleCI: built-in variables.

Owns nothing else: CircleCI parses no log, and folds each of its own steps. Source: CircleCI's
"Project values and variables".
"""

from collections.abc import Mapping

from runner.execution import Commit
from runner.providers import Host, ReadFile, known, server
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What CircleCI says of this run. A job that is run again has a new id, and nothing names the
    old; copies of one job (``parallelism``) share an id and differ in their index. Who or what
    started it is in no variable.
    """
    del read_file
    env = environ.get
    workflow, job = env("CIRCLE_WORKFLOW_ID", ""), env("CIRCLE_WORKFLOW_JOB_ID", "")
    url, pull = env("CIRCLE_BUILD_URL", ""), env("CIRCLE_PULL_REQUEST", "")
    place = ("circleci", server(url), workflow, job, env("CIRCLE_NODE_INDEX", ""))
    return Host(
        name="circleci",
        key=place if workflow and job else (),
        url=f"https://app.circleci.com/pipelines/workflows/{workflow}" if workflow else "",
        job_url=url,
        actor=env("CIRCLE_USERNAME", ""),
        git=Commit(
            repository_url=env("CIRCLE_REPOSITORY_URL", ""),
            sha=env("CIRCLE_SHA1", ""),
            branch=env("CIRCLE_BRANCH", ""),
            tag=env("CIRCLE_TAG", ""),
        ),
        workspace=env("CIRCLE_WORKING_DIRECTORY", ""),
        tags=known(("pr.number", env("CIRCLE_PR_NUMBER") or pull.rpartition("/")[2])),
    )


Log = Local
