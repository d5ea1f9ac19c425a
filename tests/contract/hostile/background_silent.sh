# Holds the step's output open and says nothing.
sleep 60 &
echo started
