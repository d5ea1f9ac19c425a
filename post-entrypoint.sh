#!/bin/bash
# After the job, whatever became of it: close what was killed, send what is left.
exec /entrypoint.sh action --post
