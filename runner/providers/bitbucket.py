"""Bitbucket Pipelines: default variables.

Owns nothing else: Bitbucket parses no log. Source: Bitbucket's "Variables and secrets".
"""

from collections.abc import Mapping

from runner.execution import Commit
from runner.providers import Host, ReadFile, known, number
from runner.providers.local import Local


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What Bitbucket says of this run. A step that is run again has the next run number; whether
    it keeps its id nobody says, so none is taken for the attempt before.
    """
    del read_file
    env = environ.get
    pipeline, step = (
        env(f"BITBUCKET_{part}_UUID", "").strip("{}") for part in ("PIPELINE", "STEP")
    )
    repository, build = env("BITBUCKET_REPO_FULL_NAME"), env("BITBUCKET_BUILD_NUMBER")
    attempt = max(number(env("BITBUCKET_STEP_RUN_NUMBER", "")), 1)
    page = f"https://bitbucket.org/{repository}/addon/pipelines/home#!/results/{build}"
    return Host(
        name="bitbucket",
        key=("bitbucket", pipeline, step, str(attempt)) if pipeline and step else (),
        attempt=attempt,
        url=page if repository and build else "",
        manual=attempt > 1,
        actor=env("BITBUCKET_STEP_TRIGGERER_UUID", "").strip("{}"),
        git=Commit(
            repository_url=env("BITBUCKET_GIT_SSH_ORIGIN") or env("BITBUCKET_GIT_HTTP_ORIGIN", ""),
            sha=env("BITBUCKET_COMMIT", ""),
            branch=env("BITBUCKET_BRANCH", ""),
            tag=env("BITBUCKET_TAG", ""),
        ),
        workspace=env("BITBUCKET_CLONE_DIR", ""),
        tags=known(
            ("pr.number", env("BITBUCKET_PR_ID", "")),
            ("git.pull_request.base_branch", env("BITBUCKET_PR_DESTINATION_BRANCH", "")),
            ("git.pull_request.base_branch_sha", env("BITBUCKET_PR_DESTINATION_COMMIT", "")),
        ),
    )


Log = Local
