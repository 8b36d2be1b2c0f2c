# CMake's way to Emscripten. NIBBLE_EMSCRIPTEN names the folder that holds emcc.py and cmake/; wasm/setup.mjs finds or makes it.
set(NIBBLE_EMSCRIPTEN "$ENV{NIBBLE_EMSCRIPTEN}" CACHE PATH "Emscripten's folder")
if(NOT EXISTS "${NIBBLE_EMSCRIPTEN}/cmake/Modules/Platform/Emscripten.cmake")
  message(FATAL_ERROR "no Emscripten at '${NIBBLE_EMSCRIPTEN}': run `npm run build`, which sets it up")
endif()
set(ENV{NIBBLE_EMSCRIPTEN} "${NIBBLE_EMSCRIPTEN}")
include("${NIBBLE_EMSCRIPTEN}/cmake/Modules/Platform/Emscripten.cmake")
