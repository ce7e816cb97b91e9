# The build's vocabulary: ruvllm_global_settings() once, ruvllm_module(NAME DEPS...) per folder.

function(ruvllm_global_settings)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
  endif()
  find_program(RUVLLM_CCACHE ccache)
  if(RUVLLM_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${RUVLLM_CCACHE} PARENT_SCOPE)
  endif()
  set(CMAKE_CXX_STANDARD 23 PARENT_SCOPE)
  set(CMAKE_CXX_STANDARD_REQUIRED ON PARENT_SCOPE)
  set(CMAKE_CXX_EXTENSIONS OFF PARENT_SCOPE)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON PARENT_SCOPE)

  # One flag set for all our targets. -ffp-contract=off: a multiply and an add are one operation
  # only where a kernel says so, on every compiler. Sections: the linker drops what is not used.
  add_library(ruvllm_flags INTERFACE)
  target_compile_options(ruvllm_flags INTERFACE
    -Wall -Wextra -Wpedantic -ffp-contract=off -ffunction-sections -fdata-sections)
  if(RUVLLM_WERROR)
    target_compile_options(ruvllm_flags INTERFACE -Werror)
  endif()
  if(RUVLLM_SANITIZE)
    target_compile_options(ruvllm_flags INTERFACE
      -fsanitize=${RUVLLM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(ruvllm_flags INTERFACE -fsanitize=${RUVLLM_SANITIZE})
    if(RUVLLM_SANITIZE MATCHES "undefined")
      target_compile_options(ruvllm_flags INTERFACE -fno-sanitize=vptr)  # needs RTTI
    endif()
    # In functions with many reads and writes the checks are calls: the kernels, which are large
    # ones, compile in half the time.
    if(RUVLLM_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(ruvllm_flags INTERFACE
        --param=asan-instrumentation-with-call-threshold=200)
    endif()
  endif()
  if(RUVLLM_FUZZ)
    target_compile_options(ruvllm_flags INTERFACE -fsanitize=fuzzer-no-link)
  endif()
  # The JSON parser (nlohmann-json3-dev) is headers only. Cross builds see just that folder of the
  # host's headers, through a link.
  if(CMAKE_CROSSCOMPILING)
    find_path(RUVLLM_JSON_HEADERS nlohmann/json.hpp NO_CMAKE_FIND_ROOT_PATH PATHS /usr/include REQUIRED)
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/host_headers)
    file(CREATE_LINK ${RUVLLM_JSON_HEADERS}/nlohmann ${PROJECT_BINARY_DIR}/host_headers/nlohmann SYMBOLIC)
    target_include_directories(ruvllm_flags SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/host_headers)
  else()
    find_path(RUVLLM_JSON_HEADERS nlohmann/json.hpp REQUIRED)
  endif()
  if(CMAKE_SYSTEM_NAME STREQUAL "WASI")
    return()
  endif()

  target_link_options(ruvllm_flags INTERFACE -Wl,--gc-sections)
  find_package(Threads REQUIRED)
  if(RUVLLM_TESTS AND CMAKE_CROSSCOMPILING)
    # The host's package (libgtest-dev) brings its sources, too.
    set(BUILD_GMOCK OFF)
    set(INSTALL_GTEST OFF)
    add_subdirectory(/usr/src/googletest/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
  elseif(RUVLLM_TESTS)
    find_package(GTest REQUIRED)
  endif()
  if(RUVLLM_BENCHMARKS)
    find_package(benchmark REQUIRED)
  endif()
  if(RUVLLM_FUZZ)
    add_custom_target(fuzzers)  # all libFuzzer programs and nothing else
  endif()
endfunction()

# Fuzzers try parsers; of the kernels they need the results, and the sanitizer builds test those.
set(RUVLLM_ISA_FLAGS_all "")
if(RUVLLM_FUZZ)
  set(RUVLLM_ISA_FLAGS_all -fno-sanitize=all)
endif()
# Flags of a file that is one instruction set's own, by the end of its name.
set(RUVLLM_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(RUVLLM_ISA_FLAGS_avxvnni -mavx2 -mfma -mf16c -mbmi2 -mavxvnni)
set(RUVLLM_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mbmi2)
set(RUVLLM_ISA_FLAGS_avx512vnni ${RUVLLM_ISA_FLAGS_avx512} -mavx512vnni)
set(RUVLLM_ISA_FLAGS_avx512bf16 ${RUVLLM_ISA_FLAGS_avx512vnni} -mavx512bf16)
set(RUVLLM_ISA_FLAGS_amx ${RUVLLM_ISA_FLAGS_avx512bf16} -mamx-tile -mamx-int8 -mamx-bf16)
set(RUVLLM_ISA_FLAGS_neon "")
set(RUVLLM_ISA_FLAGS_neon_dotprod -march=armv8.2-a+dotprod)
set(RUVLLM_ISA_FLAGS_neon_i8mm -march=armv8.2-a+dotprod+i8mm)

# The instruction sets of the processor that is compiled for.
set(RUVLLM_ISAS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(RUVLLM_ISAS avx2 avxvnni avx512 avx512vnni avx512bf16 amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(RUVLLM_ISAS neon neon_dotprod neon_i8mm)
endif()

# What runs once per start or request and not per token, and what no machine picks that has
# anything better (on x86-64: portable kernels, those of before AVX2): compiled for size.
set(RUVLLM_COLD_MODULES formats lora)
set(RUVLLM_COLD_SOURCES "/jinja/|/selftest\\.cc$|/serving_fields\\.cc$|/gguf_save\\.cc$|/json\\.cc$")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  string(APPEND RUVLLM_COLD_SOURCES "|/kernels/.*_generic\\.cc$")
endif()

# src/NAME becomes the static library ruvllm_NAME of all its *.cc (subfolders too), its *_test.cc
# one GoogleTest program NAME_test, its *_fuzz.cc one libFuzzer program each, its *_bench.cc one
# Google Benchmark program NAME_bench. DEPS: folders it uses; their libraries are linked publicly.
# RUVLLM_EXCLUDE_NAME: files of the folder that this build leaves out or replaces by others;
# RUVLLM_EXCLUDE_TESTS_NAME: a regular expression of tests it leaves out.
function(ruvllm_module name)
  set(folder ${PROJECT_SOURCE_DIR}/src/${name})
  file(GLOB_RECURSE all CONFIGURE_DEPENDS ${folder}/*.cc)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")
  foreach(path ${RUVLLM_EXCLUDE_${name}})
    list(REMOVE_ITEM sources ${folder}/${path})
  endforeach()
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(RUVLLM_EXCLUDE_TESTS_${name})
    list(FILTER tests EXCLUDE REGEX "${RUVLLM_EXCLUDE_TESTS_${name}}")
  endif()
  set(fuzzers ${all})
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  set(benches ${all})
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  set(libraries ruvllm_api)
  foreach(dep ${ARGN})
    list(APPEND libraries ruvllm_${dep})
  endforeach()

  set(lib ruvllm_${name})
  set_property(GLOBAL APPEND PROPERTY RUVLLM_MODULES ${lib})
  if(sources)
    add_library(${lib} STATIC ${sources})
    target_include_directories(${lib} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
    target_compile_options(${lib} PRIVATE -fno-exceptions -fno-rtti)
    if(name IN_LIST RUVLLM_COLD_MODULES)
      target_compile_options(${lib} PRIVATE $<$<CONFIG:Release>:-Os>)
    endif()
    target_link_libraries(${lib} PRIVATE $<BUILD_INTERFACE:ruvllm_flags> PUBLIC ${libraries})
    foreach(source ${sources})
      if(source MATCHES "${RUVLLM_COLD_SOURCES}")
        set_source_files_properties(${source} PROPERTIES
          COMPILE_OPTIONS $<$<CONFIG:Release>:-Os>)
      endif()
      if(source MATCHES "_(avx2|avxvnni|avx512|avx512vnni|avx512bf16|amx|neon|neon_dotprod|neon_i8mm)\\.cc$")
        set(isa ${CMAKE_MATCH_1})
        if(isa IN_LIST RUVLLM_ISAS)
          set_source_files_properties(${source} PROPERTIES
            COMPILE_OPTIONS "${RUVLLM_ISA_FLAGS_${isa}};${RUVLLM_ISA_FLAGS_all}")
        else()
          set_source_files_properties(${source} PROPERTIES HEADER_FILE_ONLY ON)
        endif()
      endif()
    endforeach()
  else()
    add_library(${lib} INTERFACE)
    target_include_directories(${lib} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
    target_link_libraries(${lib} INTERFACE ${libraries})
  endif()

  if(RUVLLM_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_compile_options(${name}_test PRIVATE -O1)  # tests wait for the compiler, not for loops
    target_link_libraries(${name}_test
      PRIVATE ${lib} ruvllm_test_paths ruvllm_flags GTest::gtest GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name}_test)
  endif()
  if(RUVLLM_FUZZ)
    foreach(source ${fuzzers})
      get_filename_component(program ${source} NAME_WE)
      add_executable(${program} ${source})
      target_link_libraries(${program} PRIVATE ${lib} ruvllm_flags)
      target_link_options(${program} PRIVATE -fsanitize=fuzzer)
      add_dependencies(fuzzers ${program})
    endforeach()
  endif()
  if(RUVLLM_BENCHMARKS AND benches)
    add_executable(${name}_bench ${benches})
    target_link_libraries(${name}_bench PRIVATE ${lib} ruvllm_flags benchmark::benchmark_main)
  endif()
endfunction()
