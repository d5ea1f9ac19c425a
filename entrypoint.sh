#!/bin/bash
# bash, not sh: dash drops variables with hyphens in their names, and an Action's inputs have them.
# exec, and no init in front: a second process that was given the key would show it to every step.
set -euo pipefail
signalbox=(/opt/venv/bin/python -I -m runner)
case "${1-}" in
  "") [[ -z "${GITHUB_ACTIONS-}" ]] || set -- action
      exec "${signalbox[@]}" "$@" ;;
  -* | action | check | clean | exec | export | flush | import | init | list | logs | measure | plan | \
  report | reproduce | resume | retry | run | schema | serve | show | tag)
      exec "${signalbox[@]}" "$@" ;;
  *)  exec "$@" ;;
esac
