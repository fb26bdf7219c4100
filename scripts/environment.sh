# shellcheck shell=bash
# Sourced by the scripts: finds uv, or fetches it with pip, and makes .venv hold the project and what it needs.
# Sets $root and $venv. No lock file is kept: pyproject.toml's constraints say which versions are installed.
#
# SENSORIUM_PYTHON names the Python to build .venv with; otherwise it is the first of 3.11 to 3.13 that is found.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

find_python() {
  local candidate
  for candidate in "${SENSORIUM_PYTHON:-python3.11}" python3.12 python3.13 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: Python 3.11 or later is needed, and none was found; install it, or set SENSORIUM_PYTHON" >&2
  return 1
}

# Prints the path of a uv that runs. Where there is none, pip puts one into .uv/, which touches nothing else.
find_uv() {
  if uv --version >/dev/null 2>&1; then
    command -v uv
    return
  fi
  local python
  if ! [ -x "$root/.uv/bin/uv" ]; then
    python="$(find_python)"
    echo "fetching uv into .uv/ …" >&2
    "$python" -m pip install --quiet --disable-pip-version-check --target "$root/.uv" 'uv>=0.8' >&2
  fi
  echo "$root/.uv/bin/uv"
}

# Lets a uv that pip fetched use pip's package index and certificates, which it does not read itself.
follow_pip() {
  local settings index cert
  settings="$("$(find_python)" -m pip config list 2>/dev/null || true)"
  index="$(sed -n "s/^\(global\|:env:\)\.index-url='\(.*\)'$/\2/p" <<<"$settings" | tail -n 1)"
  cert="$(sed -n "s/^\(global\|:env:\)\.cert='\(.*\)'$/\2/p" <<<"$settings" | tail -n 1)"
  if [ -n "$index" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"; fi
  if [ -n "$cert" ]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$cert}"; fi
}

# Installs the project into .venv; arguments go to `uv sync`. Packages that are there besides are left alone.
sync_environment() {
  local uv python
  uv="$(find_uv)"
  if [ "$uv" = "$root/.uv/bin/uv" ]; then follow_pip; fi
  if ! [ -x "$venv/bin/python" ]; then
    python="$(find_python)"
    set -- --python "$python" "$@"
    echo "installing into .venv/ (some gigabytes the first time) …" >&2
  fi
  UV_PROJECT_ENVIRONMENT="$venv" "$uv" sync --quiet --project "$root" --inexact "$@"
}
