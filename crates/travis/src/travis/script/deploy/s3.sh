# Uploads files to a bucket of an S3 service, signed by curl (Signature Version 4). The key goes to curl by standard input,
# since other processes can see arguments.

travis_s3_failed() {
  printf '%bThe bucket %s: %s%b\n' "$ANSI_RED" "$s3_bucket" "$1" "$ANSI_RESET"
  return 1
}

# Escapes a path for an address; slashes stay.
travis_s3_path() {
  local LC_ALL=C text=$1 i c
  for ((i = 0; i < ${#text}; i++)); do
    c=${text:i:1}
    case $c in
      [A-Za-z0-9._~/-]) printf '%s' "$c" ;;
      *) printf '%%%02X' "'$c" ;;
    esac
  done
}

# Asks, and keeps the answer in s3_answer and its status in s3_status.
travis_s3_call() {
  local method=$1 key=$2 hash=$3
  shift 3
  s3_answer=$(
    printf 'user = "%s:%s"\n' "${s3_key//[\"\\]/}" "${s3_secret//[\"\\]/}" |
      curl -sS --config - --retry 3 --max-time 3600 --aws-sigv4 "aws:amz:$s3_region:s3" -X "$method" \
        -H "x-amz-content-sha256: $hash" -w '\n%{http_code}' "$@" -- "$s3_base/$(travis_s3_path "$key")"
  ) || return 1
  s3_status=${s3_answer##*$'\n'}
  s3_answer=${s3_answer%$'\n'*}
}

travis_s3() {
  local folder=${s3_local_dir:-.} prefix=${s3_upload_dir%/} file key hash kind empty headers list=()
  command -v curl > /dev/null || travis_s3_failed 'the image has no curl to publish with' || return
  [ -n "$s3_bucket" ] || travis_s3_failed 'there is no bucket: `bucket` is missing or empty' || return
  [ -n "$s3_key" ] || travis_s3_failed 'there is no key: `access_key_id` is missing or empty' || return
  [ -n "$s3_secret" ] || travis_s3_failed 'there is no secret: `secret_access_key` is missing or empty' || return
  [ -d "$folder" ] || travis_s3_failed "there is no folder $folder: see \`local_dir\`" || return
  s3_region=${s3_region:-us-east-1}
  s3_base=${s3_endpoint%/}
  case $s3_base in
    '') s3_base=https://s3.$s3_region.amazonaws.com ;;
    http://* | https://*) ;;
    *) s3_base=https://$s3_base ;;
  esac
  s3_base=$s3_base/$s3_bucket
  while IFS= read -r -d '' file; do
    file=${file#./}
    [ "$s3_dot_match" = true ] || [[ /$file != */.* ]] || continue
    # shellcheck disable=SC2053 # The author's pattern.
    [ -z "$s3_glob" ] || [ "$s3_glob" = '**/*' ] || [[ $file == $s3_glob ]] || continue
    list+=("$file")
  done < <(cd "$folder" && find . -name .git -prune -o -type f -print0 | LC_ALL=C sort -z)
  [ ${#list[@]} -gt 0 ] || travis_s3_failed "there is no file in $folder" || return
  empty=$(printf '' | sha256sum)
  for file in "${list[@]}"; do
    key=${prefix:+$prefix/}$file
    if [ "$s3_overwrite" = false ]; then
      travis_s3_call HEAD "$key" "${empty%% *}" --head || return
      case $s3_status in
        200)
          printf '%s is there already, and stays as it is (`overwrite: true` replaces it).\n' "$key"
          continue
          ;;
        404) ;;
        *) travis_s3_failed "it answered $s3_status to the question for $key" || return ;;
      esac
    fi
    hash=$(sha256sum < "$folder/$file") || return
    case $file in
      *.html | *.htm) kind=text/html ;;
      *.css) kind=text/css ;;
      *.js) kind=text/javascript ;;
      *.json) kind=application/json ;;
      *.txt | *.md) kind=text/plain ;;
      *.png) kind=image/png ;;
      *.svg) kind=image/svg+xml ;;
      *) kind=application/octet-stream ;;
    esac
    headers=(-H "Content-Type: $kind")
    [ -z "$s3_acl" ] || headers+=(-H "x-amz-acl: ${s3_acl//_/-}")
    [ -z "$s3_cache_control" ] || headers+=(-H "Cache-Control: $s3_cache_control")
    [ -z "$s3_storage_class" ] || headers+=(-H "x-amz-storage-class: $s3_storage_class")
    [ "$s3_encryption" != true ] || headers+=(-H 'x-amz-server-side-encryption: AES256')
    travis_s3_call PUT "$key" "${hash%% *}" "${headers[@]}" -T "$folder/$file" || return
    [[ $s3_status = 20? ]] || travis_s3_failed "it answered $s3_status to $key: ${s3_answer:0:300}" || return
    printf 'Published %s.\n' "$key"
  done
}
