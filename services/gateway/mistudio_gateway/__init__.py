"""The gateway, the one door for clients: forwards domain calls, answers for all jobs, streams what happens to them."""
