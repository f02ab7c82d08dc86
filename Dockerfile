# The two commands of README in a container, without root:
#
#   docker build -t sepo .
#   docker run --rm -it -v sepo-kit:/home/sepo/kit sepo              # make reproduce
#   docker run --rm -it -v sepo-kit:/home/sepo/kit sepo make test
#
# The volume keeps what a run writes: the same command continues a run that was stopped.
FROM python:3.11-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 sepo \
    && install --directory --owner=sepo --group=sepo /home/sepo/kit

WORKDIR /home/sepo/kit
COPY --chown=1000:1000 . .

USER 1000
RUN make env

CMD ["make", "reproduce"]
