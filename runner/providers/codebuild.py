"""AWS CodeBuild, by itself and as an action of CodePipeline: the variables of a build.

Owns nothing else: CodeBuild parses no log. Source: AWS' "Environment variables in build
environments".
"""

import re
from collections.abc import Mapping
from typing import Final

from runner.event import Node
from runner.execution import Commit
from runner.providers import Host, ReadFile, known
from runner.providers.local import Local

_ARN: Final = r"arn:aws:codebuild:([a-z0-9-]+):(\d+):build/([\w-]+):([\w-]+)"


def host(environ: Mapping[str, str], read_file: ReadFile) -> Host:
    """What CodeBuild says of this run. Every build has an id of its own, a retry and each build of
    a batch, too. A person's name stands alone as the initiator; of all else it is said what it is.
    """
    del read_file
    env = environ.get
    arn, initiator = env("CODEBUILD_BUILD_ARN", ""), env("CODEBUILD_INITIATOR", "")
    by_pipeline = initiator.startswith("codepipeline")
    by_machine = "/" in initiator or initiator == "CodeBuild-Jenkins-Plugin"
    version = env("CODEBUILD_SOURCE_VERSION", "")
    return Host(
        name="awscodepipeline" if by_pipeline else "awscodebuild",
        key=("codebuild", arn),
        url=_url(arn) or env("CODEBUILD_PUBLIC_BUILD_URL", ""),
        node=Node(labels=(env("CODEBUILD_BUILD_IMAGE", ""),)),
        manual=bool(initiator) and not by_machine and not env("CODEBUILD_WEBHOOK_TRIGGER"),
        actor="" if by_machine else initiator,
        git=_git(environ),
        workspace=env("CODEBUILD_SRC_DIR", ""),
        tags=known(
            ("pr.number", version.removeprefix("pr/") if version.startswith("pr/") else ""),
            ("git.pull_request.base_branch", env("CODEBUILD_WEBHOOK_BASE_REF", "")),
        ),
    )


def _url(arn: str) -> str:
    match = re.fullmatch(_ARN, arn)
    if match is None:
        return ""
    region, account, project, build = match.groups()
    console = f"https://{region}.console.aws.amazon.com/codesuite/codebuild/{account}"
    return f"{console}/projects/{project}/build/{project}%3A{build}/?region={region}"


def _git(environ: Mapping[str, str]) -> Commit:
    """Of a source in S3, as a pipeline hands it on, the version is no commit."""
    env = environ.get
    sha, head = env("CODEBUILD_RESOLVED_SOURCE_VERSION", ""), env("CODEBUILD_WEBHOOK_HEAD_REF", "")
    url = env("CODEBUILD_SOURCE_REPO_URL", "")
    return Commit(
        repository_url=url if "://" in url or "@" in url else "",
        sha=sha if re.fullmatch(r"[0-9a-f]{40}", sha) else "",
        branch=head,
    )


Log = Local
