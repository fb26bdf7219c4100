#!/usr/bin/env bash
# What the command line does, one use after another; writes into the current folder.
set -euo pipefail
pictures="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/pictures"
starter=starter/image-classification

sensorium tasks
# A line a picture, and a page to look at.
sensorium run image-classification "$pictures" --model "$starter" --top-k 2 --html labels.html --overwrite
# One array of vectors; `find`, `grep` or a data base may give the names.
find "$pictures" -name 'c*.jpg' | sort | \
  sensorium run image-feature-extraction - --model "$starter" --pool pooled -o vectors.npz --overwrite
