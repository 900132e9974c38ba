#!/bin/sh
# Writes .env from .env.example with a fresh random value for every secret that is empty there. Never replaces a file.
set -eu
umask 077
from=${1:-.env.example}
to=${2:-.env}
[ ! -e "$to" ] || { echo "$to exists already; remove it first to make new secrets" >&2; exit 1; }
made=$(mktemp "$to.XXXXXX")
trap 'rm -f "$made"' EXIT
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
        [A-Z]*_PASSWORD= | [A-Z]*_KEY=)
            secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
            printf '%s%s\n' "$line" "$secret"
            ;;
        *) printf '%s\n' "$line" ;;
    esac
done < "$from" > "$made"
mv "$made" "$to"
