#!/bin/bash
# Whether etcd answers.
exec etcdctl --command-timeout=2s endpoint health
