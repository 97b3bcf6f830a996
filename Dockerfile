# Our own processes: the API, the workers, the simulator and the command line.
FROM python:3.11-slim
WORKDIR /purser
COPY requirements.lock pyproject.toml README.md ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY schemas schemas
COPY writer writer
COPY connectors connectors
COPY streams streams
COPY sinks sinks
COPY operations operations
COPY marketplace marketplace
COPY payins payins
COPY service service
COPY simulators simulators
COPY stack stack
COPY cli cli
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && useradd --system purser \
    && install --directory --owner=purser /var/lib/purser
USER purser
ENTRYPOINT ["purser"]
