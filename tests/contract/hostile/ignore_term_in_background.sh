# The step itself ends at TERM, what it started does not.
(trap '' TERM; while :; do echo >>beat; sleep 0.02; done) &
sleep 60
