# Stops itself: it hears TERM only after CONT.
trap 'echo heard >>heard; exit 3' TERM
kill -STOP $$
sleep 60
