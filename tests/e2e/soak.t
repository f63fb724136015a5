#!/bin/sh
# The soak (tests/soak/run) for a moment.
SOAK_SECONDS=${SOAK_SECONDS:-40}
export SOAK_SECONDS
exec "$(dirname "$0")/../soak/run"
