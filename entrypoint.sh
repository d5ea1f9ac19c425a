#!/bin/bash
# bash, not sh: dash drops variables with hyphens in their names, and an Action's inputs have them.
# exec, and no init in front: a second process that was given the key would show it to every step.
set -euo pipefail
signalbox=(/opt/venv/bin/python -I -m runner)
case "${1-}" in
  "") # GitHub and its like say what to do by INPUT_*, Drone and Woodpecker by PLUGIN_*
      [[ -z "${GITHUB_ACTIONS-}${!PLUGIN_@}" ]] || set -- action
      exec "${signalbox[@]}" "$@" ;;
  -* | action | check | clean | exec | export | flush | import | init | list | logs | measure | plan | \
  report | reproduce | resume | retry | run | schema | serve | show | tag)
      exec "${signalbox[@]}" "$@" ;;
  *)  exec "$@" ;;
esac
