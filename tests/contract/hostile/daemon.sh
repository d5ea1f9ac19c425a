# A double fork with a session of its own, as daemons do.
(setsid sh -c 'while :; do echo >>beat; sleep 0.02; done' >/dev/null 2>&1 &)
while ! [ -e beat ]; do sleep 0.01; done
echo started
