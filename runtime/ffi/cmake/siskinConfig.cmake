# find_package(siskin) gives siskin::siskin, the shared library, and siskin::static. The files are found relative to this one, so
# an installation may be moved as a whole.
get_filename_component(_siskin_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_siskin_suffixes lib lib64)
if(CMAKE_LIBRARY_ARCHITECTURE)
  list(INSERT _siskin_suffixes 0 "lib/${CMAKE_LIBRARY_ARCHITECTURE}")
endif()

function(_siskin_library target kind file)
  find_library(_siskin_${target} NAMES ${file} PATHS "${_siskin_prefix}" PATH_SUFFIXES ${_siskin_suffixes}
    NO_DEFAULT_PATH NO_CACHE NO_CMAKE_FIND_ROOT_PATH)
  if(_siskin_${target} AND NOT TARGET siskin::${target})
    add_library(siskin::${target} ${kind} IMPORTED)
    set_target_properties(siskin::${target} PROPERTIES
      IMPORTED_LOCATION "${_siskin_${target}}"
      INTERFACE_INCLUDE_DIRECTORIES "${_siskin_prefix}/include")
  endif()
endfunction()

_siskin_library(siskin SHARED ${CMAKE_SHARED_LIBRARY_PREFIX}siskin${CMAKE_SHARED_LIBRARY_SUFFIX})
_siskin_library(static STATIC ${CMAKE_STATIC_LIBRARY_PREFIX}siskin${CMAKE_STATIC_LIBRARY_SUFFIX})
if(TARGET siskin::static AND UNIX)
  # What Rust's standard library needs, beside what the compiler adds by itself.
  set_property(TARGET siskin::static PROPERTY INTERFACE_LINK_LIBRARIES pthread m dl)
endif()

if(NOT TARGET siskin::siskin AND NOT TARGET siskin::static)
  set(siskin_FOUND FALSE)
  set(siskin_NOT_FOUND_MESSAGE "no libsiskin in ${_siskin_prefix}/{${_siskin_suffixes}}")
endif()
unset(_siskin_prefix)
unset(_siskin_suffixes)
