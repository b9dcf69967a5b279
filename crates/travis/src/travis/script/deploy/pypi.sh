# Builds distributions of a package of Python, and uploads them with twine. The password goes to twine by the environment.

travis_pypi_failed() {
  printf '%bThe package: %s%b\n' "$ANSI_RED" "$1" "$ANSI_RESET"
  return 1
}

travis_pypi() {
  local server=${pypi_server:-https://upload.pypi.org/legacy/} options=()
  [ -n "$pypi_password" ] || travis_pypi_failed 'there is no password: `password` is missing or empty' || return
  if ! compgen -G 'dist/*' > /dev/null; then
    [ -f setup.py ] || travis_pypi_failed 'there is no file in dist, and no setup.py to make one' || return
    # shellcheck disable=SC2086 # Several words, as in "sdist bdist_wheel".
    python3 setup.py --quiet ${pypi_distributions:-sdist} || travis_pypi_failed 'setup.py has failed' || return
  fi
  [ "$pypi_check" = false ] || travis_python_client twine twine python3 -m twine check dist/* || return
  [ "$pypi_skip_existing" != true ] || options+=(--skip-existing)
  TWINE_USERNAME=${pypi_user:-__token__} TWINE_PASSWORD=$pypi_password TWINE_NON_INTERACTIVE=1 \
    travis_python_client twine twine python3 -m twine upload --disable-progress-bar "${options[@]}" \
    --repository-url "$server" dist/* || return
  [ "$pypi_remove_build_dir" = false ] || rm -rf dist/*
}
