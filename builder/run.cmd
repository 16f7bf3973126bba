@echo off
rem Does what `pixi run NAME` does, on a machine without pixi: run NAME [options]
rem It only finds a Python; the rest is in pixi-mirror.pyz. `run` is the same for other systems.
setlocal
set "python="
for %%P in ("py -3" "python" "python3") do call :try %%P
if defined python goto :start
rem None is new enough: one that is too old says so itself.
python -c "import sys; sys.exit(sys.version_info < (3, 6))" >nul 2>nul
if not errorlevel 1 set "python=python"
if defined python goto :start
echo error: pixi-mirror needs Python 3.11 or newer; none is on PATH>&2
echo help: install Python from python.org, or use pixi: pixi run mirror>&2
exit /b 4

:start
%python% -I -S "%~dp0pixi-mirror.pyz" %*
exit /b %errorlevel%

:try
if defined python exit /b 0
%~1 -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul
if not errorlevel 1 set "python=%~1"
exit /b 0
