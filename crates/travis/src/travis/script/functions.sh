# What Travis gives every job: marks, timers, retries, and how a line's status becomes the job's.
# Written for bash 4 and later without other programs, since images differ in what they have.

ANSI_RED='\033[31;1m'
ANSI_GREEN='\033[32;1m'
ANSI_YELLOW='\033[33;1m'
ANSI_RESET='\033[0m'
ANSI_CLEAR='\033[0K'

travis_nanoseconds() {
  if [ -n "${EPOCHREALTIME:-}" ]; then
    printf '%s000' "${EPOCHREALTIME//[!0-9]/}"
  else
    date +%s%N
  fi
}

travis_fold() {
  printf 'travis_fold:%s:%s\r\033[0K' "$1" "$2"
}

# Names the newest checkpoint of a training in the file $2 once its files have stopped changing: then it is whole, as far as
# one can see from outside the trainer. The lines after the name tell one state of a folder from another.
travis_watch_checkpoints() {
  local folder=$1 mark=$2 newest facts before=''
  while sleep 2; do
    newest=$(find "$folder" -mindepth 1 -maxdepth 2 \
      \( -type d \( -name 'checkpoint-*' -o -name '*-state' -o -name '*-backup-*' \) -printf '%T@ %p\n' \) -o \
      \( -type f -path "$folder/*/optimizer.pt" -printf '%T@ %h\n' \) | sort -n | tail -n 1)
    [ -n "$newest" ] || continue
    newest=${newest#* }
    facts=$(find "$newest" -type f -printf '%P %s %T@\n' | sort | cksum)
    if [ "$newest $facts" = "$before" ]; then printf '%s\n%s\n' "$newest" "$facts" >"$mark.new" && mv "$mark.new" "$mark"; fi
    before="$newest $facts"
  done
}

# Makes the files of a checkpoint change their state in the order in which they were written: ai-toolkit goes on from the
# file whose state has changed last.
travis_order_files() {
  local file
  find "$1" -maxdepth 1 -type f -printf '%T@ %p\n' | sort -n | while read -r _ file; do
    touch -r "$file" "$file"
    sleep 0.01
  done
}

travis_time_start() {
  TRAVIS_TIMER_ID=$(printf '%04x%04x' "$RANDOM" "$RANDOM")
  TRAVIS_TIMER_START_TIME=$(travis_nanoseconds)
  printf 'travis_time:start:%s\r\033[0K' "$TRAVIS_TIMER_ID"
}

travis_time_finish() {
  local result=$? finish event=${1:-}
  finish=$(travis_nanoseconds)
  printf 'travis_time:end:%s:start=%s,finish=%s,duration=%s,event=%s\r\033[0K' \
    "$TRAVIS_TIMER_ID" "$TRAVIS_TIMER_START_TIME" "$finish" "$((finish - TRAVIS_TIMER_START_TIME))" "$event"
  return "$result"
}

# Options have no value until they are given: a job that leaves `set -u` on ends here, as it does on Travis.
travis_cmd() {
  local cmd=$1 assert echo display retry timing event secure result
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --assert) assert=true ;;
      --echo) echo=true ;;
      --retry) retry=true ;;
      --timing) timing=true ;;
      --secure) secure=true ;;
      --display) display=$2 && shift ;;
      --event) event=$2 && shift ;;
    esac
    shift
  done
  TRAVIS_CMD=$cmd
  if [ -n "$timing" ]; then
    travis_time_start
  fi
  if [ -n "$echo" ]; then
    if [ -n "$secure" ]; then
      printf '$ %s\n' "${display:-[secure]}"
    else
      printf '$ %s\n' "${display:-$cmd}"
    fi
  fi
  if [ -n "$retry" ]; then
    travis_retry eval "$cmd"
  else
    eval "$cmd"
  fi
  result=$?
  if [ -n "$timing" ]; then
    travis_time_finish "$event"
  fi
  if [ -n "$assert" ]; then
    travis_assert "$result" "$event"
  fi
  return "$result"
}

travis_result() {
  local result=$1 color=$ANSI_GREEN
  export TRAVIS_TEST_RESULT=$((${TRAVIS_TEST_RESULT:-0} | (result != 0)))
  if [ "$result" -ne 0 ]; then
    color=$ANSI_RED
  fi
  printf '%b%s%b\n\n' "$color" "The command \"$TRAVIS_CMD\" exited with $result." "$ANSI_RESET"
}

travis_assert() {
  local result=${1:-$?}
  if [ "$result" -ne 0 ]; then
    printf '%b%s%b\n\n%s\n' "$ANSI_RED" \
      "The command \"$TRAVIS_CMD\" failed and exited with $result during ${2:-$TRAVIS_PHASE}." "$ANSI_RESET" \
      'Your build has been stopped.'
    travis_terminate 2
  fi
}

travis_terminate() {
  local job
  set +e +u
  for job in $(jobs -p); do
    kill -9 "$job" 2>/dev/null
  done
  exit "${1:-2}"
}

travis_footer() {
  set +u
  printf '\nDone. Your build exited with %s.\n' "${TRAVIS_TEST_RESULT:-86}"
  travis_terminate "${TRAVIS_TEST_RESULT:-86}"
}

travis_retry() {
  local result=0 try=1
  while [ "$try" -le 3 ]; do
    if [ "$try" -gt 1 ]; then
      printf '\n%b%s%b\n\n' "$ANSI_RED" "The command \"$*\" failed. Retrying, $try of 3." "$ANSI_RESET" >&2
      sleep 1
    fi
    if "$@"; then
      return 0
    else
      result=$?
    fi
    try=$((try + 1))
  done
  printf '\n%b%s%b\n\n' "$ANSI_RED" "The command \"$*\" failed 3 times." "$ANSI_RESET" >&2
  return "$result"
}

travis_wait() {
  local limit=20 log pid ticker result
  if [[ $1 =~ ^[0-9]+$ ]]; then
    limit=$1
    shift
  fi
  log=travis_wait_$$.log
  "$@" >"$log" 2>&1 &
  pid=$!
  travis_jigger "$pid" "$limit" "$@" &
  ticker=$!
  wait "$pid" 2>/dev/null
  result=$?
  kill "$ticker" 2>/dev/null
  wait "$ticker" 2>/dev/null
  if [ "$result" -eq 0 ]; then
    printf '\n%b%s%b\n' "$ANSI_GREEN" "The command $* exited with $result." "$ANSI_RESET"
  else
    printf '\n%b%s%b\n' "$ANSI_RED" "The command $* exited with $result." "$ANSI_RESET"
  fi
  printf '\n%b%s%b\n\n' "$ANSI_GREEN" 'Log:' "$ANSI_RESET"
  cat "$log"
  return "$result"
}

travis_jigger() {
  local pid=$1 limit=$2 minute=0
  shift 2
  while [ "$minute" -lt "$limit" ]; do
    minute=$((minute + 1))
    printf 'Still running (%s of %s): %s\r' "$minute" "$limit" "$*"
    sleep 60
  done
  printf '\n%b%s%b\n' "$ANSI_RED" "Timeout (${limit} minutes) reached. Terminating \"$*\"" "$ANSI_RESET"
  kill -9 "$pid"
}

# Writes down the folders that shall be cached, for the worker, which takes them once the job has ended.
travis_note_cache() {
  local path word
  mkdir -p "$TRAVIS_HOME/.travis" || return
  : > "$TRAVIS_HOME/.travis/cache"
  for path in "$@"; do
    # `~`, variables and patterns are the author's, and bash's to expand.
    eval "set -- $path"
    for word in "$@"; do
      case $word in
        /*) ;;
        *) word=$TRAVIS_BUILD_DIR/${word#./} ;;
      esac
      if [ -e "$word" ]; then
        printf '%s\n' "${word%/}" >> "$TRAVIS_HOME/.travis/cache"
      fi
    done
  done
}

# Writes down the files and folders that shall be kept, below the folder at which their names start.
travis_note_artifacts() {
  local folder=$1 path word
  shift
  mkdir -p "$TRAVIS_HOME/.travis" && cd "$TRAVIS_BUILD_DIR" || return
  eval "cd -- ${folder:-.}" || return
  printf '%s\n' "$PWD" > "$TRAVIS_HOME/.travis/artifacts"
  for path in "$@"; do
    eval "set -- $path"
    for word in "$@"; do
      # A list may have colons, as in `a:b` or in what `$(find … | tr '\n' :)` gives.
      while [ -n "$word" ]; do
        path=${word%%:*}
        case $word in
          *:*) word=${word#*:} ;;
          *) word= ;;
        esac
        case $path in
          '') continue ;;
          /*) ;;
          *) path=$PWD/${path#./} ;;
        esac
        if [ -e "$path" ]; then
          printf '%s\n' "${path%/}" >> "$TRAVIS_HOME/.travis/artifacts"
        fi
      done
    done
  done
}
