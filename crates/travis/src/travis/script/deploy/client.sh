# Runs a module of Python that publishes, such as twine. If the image does not have it, it is installed beside the job's own
# packages.

travis_python_client() {
  local package=$1 module=$2 place=$HOME/.trainyard-$1
  shift 2
  if ! command -v python3 > /dev/null; then
    printf '%bThe image has no python3 to run %s with.%b\n' "$ANSI_RED" "$package" "$ANSI_RESET"
    return 1
  fi
  if python3 -c "import $module" 2> /dev/null; then
    "$@"
    return
  fi
  if [ ! -d "$place" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --target "$place.new" "$package" || return
    mv "$place.new" "$place" || return
  fi
  PYTHONPATH=$place "$@"
}
