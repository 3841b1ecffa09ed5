export DIB_INSTALLTYPE_pip_and_virtualenv=${DIB_INSTALLTYPE_pip_and_virtualenv:-package}
if [ -L /usr/local/bin/dib-python ]; then
    _dib_python=$(readlink /usr/local/bin/dib-python)
    export DIB_PYTHON_PIP="$_dib_python -m pip"
    if [ "$DIB_PYTHON_VERSION" = 3 ]; then
        export DIB_PYTHON_VIRTUALENV="$_dib_python -m venv"
    else
        export DIB_PYTHON_VIRTUALENV="$_dib_python -m virtualenv"
    fi
fi
