#!/usr/bin/env bash
# An environment with transformers 4.51 and rewardbench, whose pins exclude ours: what they share
# with ours (torch, numpy, pyarrow, peft) they read from there.
# Usage: make_environment.sh OUR_ENVIRONMENT FOLDER
# FOLDER/.installed stands once all is there, so that a start that was cut is begun again.
set -euo pipefail
ours=$(realpath "$1")
"$ours/bin/python" -m venv --clear "$2"
site=$("$2/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$ours/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/zz_ours.pth"
"$2/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    transformers==4.51.3 tokenizers==0.21.4 huggingface_hub==0.36.0 sentencepiece==0.2.3 \
    datasets==3.6.0 dill==0.3.8 multiprocess==0.70.16 fsspec==2025.3.0 \
    rewardbench==0.1.4 trl==0.15.2 fschat==0.2.36 \
    markdown2==2.5.5 nh3==0.3.8 prompt_toolkit==3.0.53 shortuuid==1.0.13 svgwrite==1.4.3 \
    wavedrom==2.0.3.post3
env -u PYTHONPATH "$2/bin/python" -c 'import rewardbench'
touch "$2/.installed"
