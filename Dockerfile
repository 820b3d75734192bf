# Keytrail: the packages that run, the sources, the detectors; no install script of a package is run. `docker build -t keytrail .`
FROM node:24-slim AS packages
WORKDIR /opt/keytrail
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-slim
WORKDIR /opt/keytrail
COPY --from=packages /opt/keytrail/node_modules node_modules
COPY package.json LICENSE ./
COPY src src
COPY detectors detectors
RUN mkdir /var/lib/keytrail && chown node:node /var/lib/keytrail
USER node
ENV NODE_ENV=production
VOLUME /var/lib/keytrail
EXPOSE 9470
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["node", "-e", "fetch('http://127.0.0.1:9470/readyz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/opt/keytrail/src/main.ts"]
CMD ["run", "--config", "/etc/keytrail/keytrail.yml"]
