"""Steps in containers: one container for each job, one exec for each step."""
