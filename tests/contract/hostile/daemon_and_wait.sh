# A daemon, and a step that goes on.
(setsid sh -c 'while :; do echo >>beat; sleep 0.02; done' >/dev/null 2>&1 &)
sleep 60
