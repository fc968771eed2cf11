# Login shells in the container find LDMS; what the engine starts gets the same from the image's ENV.
export PATH=/opt/ovis/bin:/opt/ovis/sbin:$PATH
export PYTHONPATH=/opt/ovis/lib/python3/site-packages
export LDMSD_PLUGIN_LIBPATH=/opt/ovis/lib/ovis-ldms
export ZAP_LIBPATH=/opt/ovis/lib/ovis-ldms
