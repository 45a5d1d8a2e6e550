# docker build --target cpu -t qsep .     or     --target cuda: see docs/serve.md.
FROM python:3.11-slim-bookworm AS base
# Debian's versions stay open: a pinned one is gone with the next security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/qsep \
    && useradd --create-home --uid 1000 qsep \
    && mkdir /data /models \
    && chmod 1777 /models
ENV PATH=/opt/qsep/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HOME=/models/hub \
    QSEP_CACHE=/models/qsep \
    MPLCONFIGDIR=/tmp/matplotlib
EXPOSE 7860
VOLUME /models
ENTRYPOINT ["qsep"]
CMD ["serve", "--host", "0.0.0.0"]

# The package as a wheel, by the pinned setuptools.
FROM base AS wheel
WORKDIR /src
COPY requirements/serve.txt requirements/serve.txt
RUN awk '/^[a-z]/ {keep = /^setuptools==/} keep' requirements/serve.txt > build.txt \
    && pip install --no-deps --require-hashes --only-binary :all: -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY qsep qsep
COPY queries queries
COPY separation separation
COPY evaluation evaluation
COPY recipes recipes
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

# PyTorch for CPUs has other wheels than the pinned ones, of the same version; uv knows where they lie.
FROM base AS cpu
COPY requirements/serve.txt /tmp/serve.txt
RUN awk '/^[a-z]/ {keep = !/^(torch|torchaudio|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/} keep' \
        /tmp/serve.txt > /tmp/others.txt \
    && awk '/^(torch|torchaudio)==/ {print $1}' /tmp/serve.txt > /tmp/torch.txt \
    && pip install --no-deps --require-hashes --only-binary :all: -r /tmp/others.txt \
    && pip install uv==0.13.9 \
    && uv pip install --no-cache --no-deps --torch-backend cpu -r /tmp/torch.txt \
    && pip uninstall --yes uv \
    && rm /tmp/*.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps /wheels/qsep-*.whl
USER 1000
WORKDIR /data

FROM base AS cuda
COPY requirements/serve.txt /tmp/serve.txt
RUN pip install --no-deps --require-hashes --only-binary :all: -r /tmp/serve.txt \
    && rm /tmp/serve.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps /wheels/qsep-*.whl
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /data
