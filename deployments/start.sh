#!/bin/sh
# Entry point of every container; its arguments are the command to run.
set -eu

# warm.py compiled the kernels for two levels of x86-64 when the image was built. Numba finds cached code by the
# processor's name, which differs between machines, so this sets the level as the name.
if [ -z "${NUMBA_CPU_NAME:-}" ] && [ "$(uname -m)" = x86_64 ]; then
    flags=" $(grep -m 1 '^flags' "${CPUINFO:-/proc/cpuinfo}" || true) "
    has() {
        for flag; do
            case $flags in *" $flag "*) ;; *) return 1 ;; esac
        done
    }
    if has avx avx2 bmi1 bmi2 f16c fma abm movbe; then
        NUMBA_CPU_NAME=x86-64-v3
        if has avx512f avx512bw avx512cd avx512dq avx512vl; then
            NUMBA_CPU_NAME=x86-64-v4
        fi
        NUMBA_CPU_FEATURES=
        export NUMBA_CPU_NAME NUMBA_CPU_FEATURES
    fi
fi

# dask-cloudprovider starts `dask-scheduler` and `dask-worker`, which newer versions of Dask no longer have.
case ${1:-} in
    dask-scheduler | dask-worker)
        role=${1#dask-}
        shift
        set -- dask "$role" "$@"
        ;;
esac

exec "$@"
