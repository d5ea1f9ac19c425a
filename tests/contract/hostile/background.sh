# An ordinary background process that writes into the step's output.
while :; do echo >>beat; echo tick; sleep 0.02; done &
echo started
