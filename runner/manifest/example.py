"""What ``signalbox init`` writes: a first pipeline that runs wherever bash does.

Owns the words a new user reads first. Does not use any key that needs more than a shell.
"""

from typing import Final

EXAMPLE: Final = """\
# A pipeline: jobs made of steps, and a gate. Check it with `signalbox check`,
# look at its order with `signalbox plan`, run it with `signalbox run`.

name: First pipeline              # the same in every run: its history hangs on it

parameters:                       # set at start: signalbox run -p TARGET=production
  TARGET: { default: staging, choices: [staging, production] }

env:
  GREETING: hello                 # an environment variable of every step

defaults:
  timeout: 10m                    # the limit of each job

jobs:
  lint:
    stage: check                  # a label for grouping
    steps:
      - echo "$GREETING, this is the linter"      # a string is a step

  test:
    stage: check
    needs: [lint]                 # starts the moment lint has succeeded
    matrix: { SHARD: [1, 2] }     # two jobs side by side: test (1), test (2)
    steps:
      - name: Unit tests of shard $SHARD
        run: |
          sleep 1
          echo "shard $SHARD passed"
          echo "tests.passed:12" >> "$SIGNALBOX_MEASURES"
        retry: 1                  # one more attempt after a failure
      - { name: Clean up, run: echo done, if: always }

  approve:                        # a manual gate: the pipeline stops here until
    needs: [test]                 # `signalbox resume --approve approve`
    gate: Deploy to $TARGET?

  deploy:
    stage: release
    needs: [approve]
    steps:
      - echo "deploying to $TARGET"
"""
